# Decides whether NCCL can be used. Sets HOTROW_NCCL to ON or OFF and says which. Its header is all that a build needs: the
# library is opened when a job asks for it.
set(HOTROW_NCCL OFF)
if(NOT HOTROW_WITH_NCCL STREQUAL "OFF" AND TARGET CUDA::cudart_static)
  find_path(HOTROW_NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  mark_as_advanced(HOTROW_NCCL_INCLUDE_DIR)
  if(HOTROW_NCCL_INCLUDE_DIR)
    file(STRINGS ${HOTROW_NCCL_INCLUDE_DIR}/nccl.h shrink REGEX "define NCCL_SHRINK_ABORT") # 2.27
    if(shrink)
      set(HOTROW_NCCL ON)
      set(HOTROW_NCCL_INCLUDE_DIRS ${HOTROW_NCCL_INCLUDE_DIR} ${CUDAToolkit_INCLUDE_DIRS})
    endif()
  endif()
endif()
if(HOTROW_WITH_NCCL STREQUAL "ON" AND NOT HOTROW_NCCL)
  message(FATAL_ERROR "HOTROW_WITH_NCCL is ON: CUDA and the header of NCCL 2.27 or later are needed")
endif()
message(STATUS "hotrow: NCCL ${HOTROW_NCCL} (HOTROW_WITH_NCCL=${HOTROW_WITH_NCCL})")
