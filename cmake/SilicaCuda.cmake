# SPDX-License-Identifier: MIT
# The CUDA backend: built everywhere, as it opens the driver and NVRTC at run time. The device text is embedded.
function(silica_add_cuda target)
  set(files kernels/cuda.h kernels/prelude_cuda.h kernels/formulas.h kernels/ordinary.h kernels/ops.inc kernels/adamw/adamw.h
    kernels/adamw/adamw.cu kernels/embedding/embedding.cu kernels/layout/layout.cu kernels/map/approximation.h
    kernels/map/map.cu kernels/matmul/few_rows.h kernels/matmul/few_rows_lines.h kernels/matmul/matmul.cu kernels/matmul/panels.h kernels/probe/probe.cu kernels/row/lanes_cuda.h
    kernels/row/row.cu kernels/row/softmax.cu kernels/tensor_core/ptx.h kernels/tensor_core/swiglu.h kernels/tensor_core/tensor_core.cu)
  set(embedded ${PROJECT_BINARY_DIR}/cuda_text.cpp)
  list(TRANSFORM files PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE paths)
  add_custom_command(OUTPUT ${embedded}
    COMMAND ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -DOUTPUT=${embedded} "-DFILES=${files}"
            -P ${PROJECT_SOURCE_DIR}/cmake/SilicaEmbed.cmake
    DEPENDS ${paths} ${PROJECT_SOURCE_DIR}/cmake/SilicaEmbed.cmake VERBATIM)
  set(backend src/backends/cuda)
  target_sources(${target} PRIVATE ${embedded} ${backend}/catalogue.cpp ${backend}/cublaslt.cpp ${backend}/device.cpp
    ${backend}/driver.cpp ${backend}/library.cpp ${backend}/memory.cpp ${backend}/nvrtc.cpp ${backend}/pipeline.cpp
    ${backend}/probe.cpp ${backend}/queue.cpp ${backend}/tensor_core.cpp)
  target_link_libraries(${target} PRIVATE ${CMAKE_DL_LIBS})
endfunction()
