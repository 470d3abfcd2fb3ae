# hotrow_library(NAME SOURCES ... LINKS ...)    one folder = one library: its include/ is public, its own folder private
# hotrow_test(FOLDER THING LINKS ... [ARGS ...] [LABELS ...])   tests/FOLDER/test_THING.c -> ctest FOLDER.THING

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_C_FLAGS_RELEASE "-O3 -g1")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g")
if(HOTROW_SANITIZE) # what a sanitizer reports are lines
  set(CMAKE_C_FLAGS_DEBUG "-O1 -g1")
endif()
# C++ is .cu files under the emulator.
set(CMAKE_CXX_FLAGS_RELEASE ${CMAKE_C_FLAGS_RELEASE})
set(CMAKE_CXX_FLAGS_DEBUG ${CMAKE_C_FLAGS_DEBUG})

# -ffp-contract=off keeps every build and every vector width on the same bits: no product is fused into a sum.
add_library(hotrow_flags INTERFACE)
target_compile_definitions(hotrow_flags INTERFACE _GNU_SOURCE)
target_compile_options(hotrow_flags INTERFACE
  $<$<COMPILE_LANGUAGE:C>:-Wall;-Wextra;-Wpedantic;-Wconversion;-Wshadow;-Wstrict-prototypes;-Werror;-ffp-contract=off;-fno-math-errno>
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wconversion;-Wshadow;-Wno-unknown-pragmas;-Werror;-ffp-contract=off;-fno-math-errno;-fno-exceptions;-fno-rtti>)
if(HOTROW_SANITIZE)
  target_compile_options(hotrow_flags INTERFACE
    $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${HOTROW_SANITIZE};-fno-sanitize-recover=all;-fno-omit-frame-pointer>)
  target_link_options(hotrow_flags INTERFACE -fsanitize=${HOTROW_SANITIZE})
endif()

function(hotrow_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE hotrow_flags)
  target_link_libraries(${name} PUBLIC ${arg_LINKS})
  target_include_directories(${name} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/include PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
endfunction()

function(hotrow_test folder thing)
  cmake_parse_arguments(arg "" "NAME;TIMEOUT" "LINKS;ARGS;LABELS;SOURCES" ${ARGN})
  set(target test_${folder}_${thing})
  if(NOT TARGET ${target})
    add_executable(${target} ${CMAKE_SOURCE_DIR}/tests/${folder}/test_${thing}.c ${arg_SOURCES})
    target_link_libraries(${target} PRIVATE hotrow_flags hr_harness ${arg_LINKS})
  endif()
  if(NOT arg_NAME)
    set(arg_NAME ${folder}.${thing})
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_test(NAME ${arg_NAME} COMMAND ${target} ${arg_ARGS})
  set_tests_properties(${arg_NAME} PROPERTIES LABELS "${folder};${arg_LABELS}" SKIP_RETURN_CODE 77 TIMEOUT ${arg_TIMEOUT})
endfunction()
