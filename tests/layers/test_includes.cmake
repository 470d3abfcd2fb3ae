# An include against the layering does not compile: for each folder, one-line files with the include directories that its
# own files are compiled with (from compile_commands.json). What is forbidden must fail because the header is not found;
# what is allowed must compile, or the test would pass on a broken compiler line.
cmake_minimum_required(VERSION 3.23)

# layer(FILE ALLOWED ... FORBIDDEN ...): FILE stands for its folder; a header without a directory is private to a folder
set(failures 0)
set(checks 0)
file(READ ${BUILD_DIR}/compile_commands.json commands)
string(JSON command_count LENGTH "${commands}")
math(EXPR command_last "${command_count} - 1")
set(scratch ${BUILD_DIR}/layers.tmp)
file(MAKE_DIRECTORY ${scratch})

function(include_directories_of file directories_p)
  foreach(i RANGE ${command_last})
    string(JSON path GET "${commands}" ${i} file)
    if(path STREQUAL "${SOURCE_DIR}/${file}")
      string(JSON command GET "${commands}" ${i} command)
      string(REGEX MATCHALL "(-I|-isystem )[^ ]+" directories "${command}")
      string(REPLACE "-isystem " "-isystem;" directories "${directories}")
      set(${directories_p} "${directories}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
  message(FATAL_ERROR "${file} is not in compile_commands.json")
endfunction()

# found, missing, or what else the compiler said
function(try_include header directories outcome_p)
  file(WRITE ${scratch}/probe.c "#include <${header}>\n")
  execute_process(COMMAND ${COMPILER} -std=c11 -D_GNU_SOURCE ${directories} -fsyntax-only ${scratch}/probe.c
    RESULT_VARIABLE result ERROR_VARIABLE said)
  if(result EQUAL 0)
    set(outcome found)
  elseif(said MATCHES "error: '?${header}'?(: No such file| file not found)")
    set(outcome missing)
  else()
    set(outcome "${said}")
  endif()
  set(${outcome_p} "${outcome}" PARENT_SCOPE)
endfunction()

function(expect file expected)
  include_directories_of(${file} directories)
  foreach(header ${ARGN})
    try_include(${header} "${directories}" outcome)
    math(EXPR checks "${checks} + 1")
    if(NOT outcome STREQUAL expected)
      message("FAILED: ${file} includes ${header}: expected ${expected}, was ${outcome}")
      math(EXPR failures "${failures} + 1")
    endif()
  endforeach()
  set(checks ${checks} PARENT_SCOPE)
  set(failures ${failures} PARENT_SCOPE)
endfunction()

function(layer file)
  cmake_parse_arguments(arg "" "" "ALLOWED;FORBIDDEN" ${ARGN})
  expect(${file} found ${arg_ALLOWED})
  expect(${file} missing ${arg_FORBIDDEN})
  set(checks ${checks} PARENT_SCOPE)
  set(failures ${failures} PARENT_SCOPE)
endfunction()

layer(kernels/base/status.c
  ALLOWED hotrow/base.h hr/status.h
  FORBIDDEN hotrow/kernels.h hotrow/cache.h hr/wire.h hotrow/server.h hotrow/hotrow.h shard.h core.h)
layer(kernels/kernels.c
  ALLOWED hotrow/kernels.h hr/status.h kernels_impl.h
  FORBIDDEN hotrow/cache.h hr/wire.h hotrow/server.h hotrow/hotrow.h shard.h core.h)
layer(cache/cache.c
  ALLOWED hotrow/cache.h hotrow/kernels.h hr/status.h cache_clock.h
  FORBIDDEN hr/wire.h hr/route.h hotrow/server.h hotrow/hotrow.h shard.h core.h kernels_impl.h)
layer(ps/wire/wire_encode.c
  ALLOWED hr/wire.h hr/status.h wire_layout.h
  FORBIDDEN hotrow/cache.h hotrow/server.h hotrow/hotrow.h hotrow/kernels.h shard.h core.h)
layer(ps/shard.c
  ALLOWED hotrow/server.h hr/wire.h hotrow/kernels.h hr/status.h shard.h
  FORBIDDEN hotrow/cache.h hotrow/hotrow.h hotrow/comm.h core.h cache_clock.h wire_layout.h kernels_impl.h)
layer(worker/client.c
  ALLOWED hotrow/hotrow.h hotrow/cache.h hr/wire.h hotrow/kernels.h hr/status.h core.h
  FORBIDDEN hotrow/server.h shard.h table.h cache_clock.h wire_layout.h kernels_impl.h options.h)
layer(tools/main.c
  ALLOWED hotrow/hotrow.h hotrow/comm.h hotrow/server.h hotrow/cache.h hotrow/kernels.h options.h
  FORBIDDEN hr/wire.h hr/route.h shard.h table.h core.h cache_clock.h wire_layout.h kernels_impl.h)
layer(tools/options.c
  ALLOWED hotrow/hotrow.h
  FORBIDDEN hr/status.h hr/wire.h shard.h core.h)
layer(tools/train/trainer.c
  ALLOWED hotrow/hotrow.h hotrow/comm.h hr/status.h
  FORBIDDEN hr/wire.h hr/route.h shard.h table.h core.h cache_clock.h kernels_impl.h)

file(REMOVE_RECURSE ${scratch})
if(failures GREATER 0)
  message(FATAL_ERROR "${failures} of ${checks} includes are not as the layering says")
endif()
message("passed: ${checks} includes")
