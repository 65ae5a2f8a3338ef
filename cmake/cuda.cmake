# SPDX-License-Identifier: MIT
# libvlm-cuda.so, built by nvcc where there is one. Not through CMake's CUDA language: a machine without nvcc must configure
# as well, and one with it need not have a GPU.
find_program(VLM_NVCC nvcc HINTS /usr/local/cuda/bin)
if(NOT VLM_NVCC)
  message(STATUS "CUDA: no nvcc; libvlm-cuda.so is not built")
  return()
endif()
set(cuda_default "80;89;90")
if(DEFINED ENV{VLM_CUDA_ARCHITECTURES})
  set(cuda_default $ENV{VLM_CUDA_ARCHITECTURES})
endif()
set(VLM_CUDA_ARCHITECTURES "${cuda_default}" CACHE STRING "Compute capabilities that machine code is made for; the last one's PTX serves newer ones")
set(cuda_codes "")
foreach(arch ${VLM_CUDA_ARCHITECTURES})
  list(APPEND cuda_codes -gencode arch=compute_${arch},code=sm_${arch})
  set(newest ${arch})
endforeach()
list(APPEND cuda_codes -gencode arch=compute_${newest},code=compute_${newest})
# What wgmma needs is called 90a, and is one file's.
set(cuda_own_codes ${cuda_codes})
set(cuda_defines "")
if("90" IN_LIST VLM_CUDA_ARCHITECTURES)
  list(TRANSFORM cuda_own_codes REPLACE "^arch=compute_90,code=sm_90$" "arch=compute_90a,code=sm_90a")
  set(cuda_defines -DVCUDA_WGMMA)
endif()
get_filename_component(cuda_bin ${VLM_NVCC} DIRECTORY)
file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/tensor/cuda/*.cu)
set(cuda_objects "")
foreach(source ${cuda_sources})
  get_filename_component(name ${source} NAME_WE)
  set(object ${CMAKE_BINARY_DIR}/cuda/${name}.o)
  set(codes ${cuda_codes})
  if(name STREQUAL attention_wide)
    set(codes ${cuda_own_codes})
  endif()
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/cuda
    COMMAND ${CMAKE_C_COMPILER_LAUNCHER} ${VLM_NVCC} -std=c++17 -O3 ${codes} ${cuda_defines} -I${CMAKE_SOURCE_DIR}/include -I${CMAKE_SOURCE_DIR}/src
            -D_GNU_SOURCE -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra -Werror all-warnings
            -MD -MF ${object}.d -c ${source} -o ${object}
    DEPENDS ${source}
    DEPFILE ${object}.d
    COMMENT "Building CUDA object ${name}.o"
    VERBATIM)
  list(APPEND cuda_objects ${object})
endforeach()
set(cuda_library ${CMAKE_BINARY_DIR}/libvlm-cuda.so)
add_custom_command(
  OUTPUT ${cuda_library}
  COMMAND ${VLM_NVCC} -shared -cudart static ${cuda_codes} -o ${cuda_library} ${cuda_objects} -lcublasLt
          -Xlinker -rpath -Xlinker ${cuda_bin}/../lib64
  DEPENDS ${cuda_objects}
  COMMENT "Linking libvlm-cuda.so"
  VERBATIM)
add_custom_target(vlm_cuda ALL DEPENDS ${cuda_library})
install(FILES ${cuda_library} DESTINATION ${CMAKE_INSTALL_LIBDIR})
# The same once more for tests/cuda/steps.c, which counts its calls: beside that program, so that it is the one found.
set(cuda_counted ${CMAKE_BINARY_DIR}/tests/cuda/libvlm-cuda.so)
set(cuda_wraps "")
foreach(call cudaMalloc cudaMallocHost cudaHostAlloc cudaFree cudaFreeHost cudaMemcpyAsync cudaMemsetAsync cudaStreamSynchronize
             cudaEventSynchronize cudaGraphLaunch cudaLaunchKernel cudaLaunchKernelExC)
  list(APPEND cuda_wraps -Xlinker --wrap=${call})
endforeach()
add_custom_command(
  OUTPUT ${cuda_counted}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/tests/cuda
  COMMAND ${VLM_NVCC} -shared -cudart static ${cuda_codes} -Xcompiler -fPIC -o ${cuda_counted} ${cuda_objects} ${CMAKE_SOURCE_DIR}/tests/cuda/count_calls.cu
          ${cuda_wraps} -lcublasLt -Xlinker -rpath -Xlinker ${cuda_bin}/../lib64
  DEPENDS ${cuda_objects} ${CMAKE_SOURCE_DIR}/tests/cuda/count_calls.cu
  COMMENT "Linking libvlm-cuda.so with counters, for a test"
  VERBATIM)
add_custom_target(vlm_cuda_counted ALL DEPENDS ${cuda_counted})
