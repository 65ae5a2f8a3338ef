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
get_filename_component(cuda_bin ${VLM_NVCC} DIRECTORY)
file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/tensor/cuda/*.cu)
set(cuda_objects "")
foreach(source ${cuda_sources})
  get_filename_component(name ${source} NAME_WE)
  set(object ${CMAKE_BINARY_DIR}/cuda/${name}.o)
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/cuda
    COMMAND ${CMAKE_C_COMPILER_LAUNCHER} ${VLM_NVCC} -std=c++17 -O3 ${cuda_codes} -I${CMAKE_SOURCE_DIR}/include -I${CMAKE_SOURCE_DIR}/src
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
