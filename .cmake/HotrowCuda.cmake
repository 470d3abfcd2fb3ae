# Decides whether the CUDA backend is built. Sets HOTROW_CUDA to ON, EMULATED or OFF and says which and why, and
# HOTROW_CUDA_RUNG to the name of the tests that run on it. EMULATED: .cu files are compiled by the host's compiler and run
# by kernels/emulator.
#
# hotrow_cuda_target(TARGET)   TARGET's .cu files are compiled for the backend
set(HOTROW_CUDA OFF)
set(HOTROW_CUDA_RUNG cuda)
if(HOTROW_WITH_CUDA STREQUAL "EMULATED")
  enable_language(CXX)
  set(HOTROW_CUDA EMULATED)
  set(HOTROW_CUDA_RUNG emulated)
elseif(NOT HOTROW_WITH_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  if(NOT CMAKE_CUDA_COMPILER AND EXISTS /usr/local/cuda/bin/nvcc)
    set(CMAKE_CUDA_COMPILER /usr/local/cuda/bin/nvcc)
  endif()
  # No device is needed to build: name the architectures instead of asking for the one of this machine.
  set(CMAKE_CUDA_ARCHITECTURES "80-real;90" CACHE STRING "CUDA architectures")
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    set(HOTROW_CUDA ON)
  elseif(HOTROW_WITH_CUDA STREQUAL "ON")
    message(FATAL_ERROR "HOTROW_WITH_CUDA is ON and no CUDA compiler was found")
  endif()
endif()
message(STATUS "hotrow: CUDA backend ${HOTROW_CUDA} (HOTROW_WITH_CUDA=${HOTROW_WITH_CUDA})")

function(hotrow_cuda_target target)
  if(HOTROW_CUDA STREQUAL "EMULATED")
    get_target_property(sources ${target} SOURCES)
    list(FILTER sources INCLUDE REGEX "\\.cu$")
    set_source_files_properties(${sources} PROPERTIES LANGUAGE CXX)
    set_target_properties(${target} PROPERTIES CXX_STANDARD 17 CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden)
    target_link_libraries(${target} PUBLIC hr_emulator)
  elseif(HOTROW_CUDA)
    # --fmad=false: no product is fused into a sum, as on the CPU. A kernel that spills or has a stack, which is slow memory,
    # does not compile.
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false;-Xcompiler=-Wall;-Xptxas=-warn-spills,-warn-lmem-usage,-Werror>)
    set_target_properties(${target} PROPERTIES CUDA_STANDARD 17 CUDA_VISIBILITY_PRESET hidden)
    target_link_libraries(${target} PUBLIC CUDA::cudart_static stdc++)
  endif()
endfunction()
