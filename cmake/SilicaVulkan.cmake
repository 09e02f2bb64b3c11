# SPDX-License-Identifier: MIT
# The Vulkan backend: needs Vulkan's headers and glslangValidator when it is built, nothing of them when it runs.
# Compiles each shader to SPIR-V twice, with the device's fma and with an emulated one, and embeds the words.
option(SILICA_VULKAN "Build the Vulkan backend if its headers and glslangValidator are found" ON)
find_path(SILICA_VULKAN_HEADERS vulkan/vulkan.h HINTS $ENV{VULKAN_SDK}/include)
find_program(SILICA_GLSLANG glslangValidator HINTS $ENV{VULKAN_SDK}/bin)
mark_as_advanced(SILICA_VULKAN_HEADERS SILICA_GLSLANG)

set(SILICA_VULKAN_SHADERS
  kernels/adamw/adamw.comp kernels/embedding/embedding.comp kernels/layout/layout.comp kernels/map/bytes.comp
  kernels/map/map.comp kernels/matmul/matmul.comp kernels/probe/probe.comp kernels/row/row.comp
  kernels/row/softmax.comp)

# Sets SILICA_SPIRV_MODULES in the caller to the .spv files.
function(silica_add_vulkan_backend target)
  if(NOT SILICA_VULKAN OR NOT SILICA_VULKAN_HEADERS OR NOT SILICA_GLSLANG)
    message(STATUS "The Vulkan backend is left out: SILICA_VULKAN=${SILICA_VULKAN}, "
                   "headers: ${SILICA_VULKAN_HEADERS}, glslangValidator: ${SILICA_GLSLANG} "
                   "(Debian and Ubuntu: libvulkan-dev, glslang-tools)")
    target_sources(${target} PRIVATE src/backends/vulkan/absent.cpp)
    return()
  endif()
  set(folder ${PROJECT_BINARY_DIR}/vulkan)
  set(headers)
  set(modules)
  set(includes "")
  set(rows "")
  file(GLOB texts CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/*.h ${PROJECT_SOURCE_DIR}/kernels/*.inc
                                    ${PROJECT_SOURCE_DIR}/kernels/*/*.h)
  foreach(shader IN LISTS SILICA_VULKAN_SHADERS)
    get_filename_component(family ${shader} NAME_WE)
    string(APPEND rows " X(${family})")
    foreach(variant IN ITEMS native emulated)
      set(name ${family}_${variant})
      set(define $<$<STREQUAL:${variant},emulated>:-DSILICA_EMULATE_FMA>)
      set(compile ${SILICA_GLSLANG} -V --quiet --target-env vulkan1.2 -I${PROJECT_SOURCE_DIR} ${define}
                  ${PROJECT_SOURCE_DIR}/${shader})
      add_custom_command(
        OUTPUT ${folder}/${name}.spv ${folder}/${name}.h
        COMMAND ${compile} -o ${folder}/${name}.spv
        COMMAND ${compile} --variable-name ${name} -o ${folder}/${name}.h
        DEPENDS ${PROJECT_SOURCE_DIR}/${shader} ${texts}
        COMMENT "Compiling ${shader} (${variant} fma)" VERBATIM COMMAND_EXPAND_LISTS)
      list(APPEND headers ${folder}/${name}.h)
      list(APPEND modules ${folder}/${name}.spv)
      string(APPEND includes "#include \"${name}.h\"\n")
    endforeach()
  endforeach()
  file(MAKE_DIRECTORY ${folder})
  file(CONFIGURE OUTPUT ${folder}/vulkan_modules.h
    CONTENT "#include <cstdint>\nnamespace silica::vulkan {\nnamespace {\n${includes}}\n}
#define SILICA_VULKAN_MODULES(X)${rows}\n")
  target_sources(${target} PRIVATE ${headers}
    src/backends/vulkan/allocator.cpp src/backends/vulkan/context.cpp
    src/backends/vulkan/device.cpp src/backends/vulkan/kernels.cpp src/backends/vulkan/loader.cpp
    src/backends/vulkan/memory.cpp src/backends/vulkan/pipeline.cpp src/backends/vulkan/probe.cpp
    src/backends/vulkan/queue.cpp)
  set_source_files_properties(src/backends/vulkan/kernels.cpp PROPERTIES OBJECT_DEPENDS "${headers}")
  target_include_directories(${target} SYSTEM PRIVATE ${folder} ${SILICA_VULKAN_HEADERS})
  target_link_libraries(${target} PRIVATE ${CMAKE_DL_LIBS})
  set(SILICA_SPIRV_MODULES ${modules} PARENT_SCOPE)
endfunction()
