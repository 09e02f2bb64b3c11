# SPDX-License-Identifier: MIT
# The Vulkan backend: needs Vulkan's headers and glslangValidator when it is built, nothing of them when it runs.
# Compiles each shader to SPIR-V twice, with the device's fma and with an emulated one, and embeds the words. As a driver
# takes long to compile what a kernel does not need, there is a module for each row of ops.inc, map_<op>, and one for
# each kernel of a shader whose main() is SILICA_KERNEL: its functions `void <kernel>(uint64_t row)`, or group.
option(SILICA_VULKAN "Build the Vulkan backend if its headers and glslangValidator are found" ON)
find_path(SILICA_VULKAN_HEADERS vulkan/vulkan.h HINTS $ENV{VULKAN_SDK}/include)
find_program(SILICA_GLSLANG glslangValidator HINTS $ENV{VULKAN_SDK}/bin)
mark_as_advanced(SILICA_VULKAN_HEADERS SILICA_GLSLANG)

set(SILICA_VULKAN_SHADERS
  kernels/adamw/adamw.comp kernels/embedding/embedding.comp kernels/layout/layout.comp kernels/map/bytes.comp
  kernels/map/map.comp kernels/matmul/matmul.comp kernels/probe/probe.comp kernels/row/row.comp
  kernels/row/softmax.comp)

# The two modules `name` of a shader; further arguments define macros. Appends to names, headers and modules of the caller.
function(silica_add_shader name shader)
  set(folder ${PROJECT_BINARY_DIR}/vulkan)
  foreach(variant IN ITEMS native emulated)
    set(module ${name}_${variant})
    set(defines ${ARGN} $<$<STREQUAL:${variant},emulated>:-DSILICA_EMULATE_FMA>)
    set(compile ${SILICA_GLSLANG} -V --quiet -g0 --target-env vulkan1.2 -I${PROJECT_SOURCE_DIR} "${defines}"
                ${PROJECT_SOURCE_DIR}/${shader})
    add_custom_command(
      OUTPUT ${folder}/${module}.spv ${folder}/${module}.h
      COMMAND ${compile} -o ${folder}/${module}.spv
      COMMAND ${compile} --variable-name ${module} -o ${folder}/${module}.h
      DEPENDS ${PROJECT_SOURCE_DIR}/${shader} ${texts}
      COMMENT "Compiling ${shader} to ${module}" VERBATIM COMMAND_EXPAND_LISTS)
    list(APPEND headers ${folder}/${module}.h)
    list(APPEND modules ${folder}/${module}.spv)
  endforeach()
  set(names ${names} ${name} PARENT_SCOPE)
  set(headers ${headers} PARENT_SCOPE)
  set(modules ${modules} PARENT_SCOPE)
endfunction()

# Sets SILICA_SPIRV_MODULES in the caller to the .spv files.
function(silica_add_vulkan_backend target)
  if(NOT SILICA_VULKAN OR NOT SILICA_VULKAN_HEADERS OR NOT SILICA_GLSLANG)
    message(STATUS "The Vulkan backend is left out: SILICA_VULKAN=${SILICA_VULKAN}, "
                   "headers: ${SILICA_VULKAN_HEADERS}, glslangValidator: ${SILICA_GLSLANG} "
                   "(Debian and Ubuntu: libvulkan-dev, glslang-tools)")
    target_sources(${target} PRIVATE src/backends/vulkan/absent.cpp)
    return()
  endif()
  set(names)
  set(headers)
  set(modules)
  file(GLOB texts CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/*.h ${PROJECT_SOURCE_DIR}/kernels/*.inc
                                    ${PROJECT_SOURCE_DIR}/kernels/*/*.h)
  set(ops ${PROJECT_SOURCE_DIR}/kernels/ops.inc)
  file(STRINGS ${ops} rows REGEX "^SILICA_")
  foreach(row IN LISTS rows)
    string(REGEX REPLACE "^[A-Z_]+\\(([a-z_0-9]+),.*" "\\1" op "${row}")
    set(formulas)
    if(row MATCHES "^SILICA_(UNARY|BINARY)\\(")
      set(formulas -DSILICA_FORMULAS=true)
    endif()
    silica_add_shader(map_${op} kernels/map/map.comp "-DSILICA_ROW=${row}" ${formulas})
  endforeach()
  foreach(shader IN LISTS SILICA_VULKAN_SHADERS)
    get_filename_component(family ${shader} NAME_WE)
    set(kernel "^void ([a-z_0-9]+)\\(uint64_t (row|group)\\) {.*")
    file(STRINGS ${shader} split REGEX "SILICA_KERNEL")
    file(STRINGS ${shader} kernels REGEX "${kernel}")
    if(NOT split)
      silica_add_shader(${family} ${shader})
      continue()
    endif()
    foreach(line IN LISTS kernels)
      string(REGEX REPLACE "${kernel}" "\\1" name "${line}")
      silica_add_shader(${family}_${name} ${shader} -DSILICA_KERNEL=${name})
    endforeach()
  endforeach()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${ops} ${SILICA_VULKAN_SHADERS})

  set(folder ${PROJECT_BINARY_DIR}/vulkan)
  list(TRANSFORM names REPLACE "(.+)" " X(\\1)" OUTPUT_VARIABLE calls)
  list(TRANSFORM headers REPLACE "(.+)" "#include \"\\1\"\n" OUTPUT_VARIABLE includes)
  list(JOIN calls "" calls)
  list(JOIN includes "" includes)
  file(MAKE_DIRECTORY ${folder})
  file(CONFIGURE OUTPUT ${folder}/vulkan_modules.h
    CONTENT "#include <cstdint>\nnamespace silica::vulkan {\nnamespace {\n${includes}}\n}
#define SILICA_VULKAN_MODULES(X)${calls}\n")
  target_sources(${target} PRIVATE ${headers}
    src/backends/vulkan/allocator.cpp src/backends/vulkan/context.cpp
    src/backends/vulkan/device.cpp src/backends/vulkan/kernels.cpp src/backends/vulkan/loader.cpp
    src/backends/vulkan/memory.cpp src/backends/vulkan/pipeline.cpp src/backends/vulkan/probe.cpp
    src/backends/vulkan/queue.cpp src/backends/vulkan/spirv.cpp)
  set_source_files_properties(src/backends/vulkan/kernels.cpp PROPERTIES OBJECT_DEPENDS "${headers}")
  target_include_directories(${target} SYSTEM PRIVATE ${folder} ${SILICA_VULKAN_HEADERS})
  target_link_libraries(${target} PRIVATE ${CMAKE_DL_LIBS})
  set(SILICA_SPIRV_MODULES ${modules} PARENT_SCOPE)
endfunction()
