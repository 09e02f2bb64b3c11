# SPDX-License-Identifier: MIT
# Tests of the Vulkan backend; included by CMakeLists.txt, after silica_test(). They need a device: without a
# GPU, Mesa's lavapipe (docs/devices.md). Where the backend was left out of the build there are none.
silica_test(rounding_test COMPUTES)
if(SILICA_SPIRV_MODULES)
  silica_test(vulkan_backend_test)
  target_include_directories(vulkan_backend_test SYSTEM PRIVATE ${SILICA_VULKAN_HEADERS})
endif()
if(SILICA_SPIRV_MODULES AND NOT SILICA_SANITIZE)  # the rest runs shaders, into which no sanitizer sees
  silica_test(vulkan_test)
  target_include_directories(vulkan_test SYSTEM PRIVATE ${SILICA_VULKAN_HEADERS})

  # The validation layer over all of it, with synchronization validation.
  add_test(NAME vulkan_validation_test
    COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/vulkan_validation_test.sh $<TARGET_FILE:vulkan_test>
            $<TARGET_FILE:vulkan_backend_test>)
  set_tests_properties(vulkan_validation_test PROPERTIES TIMEOUT 600)

  # Every module: valid, no arithmetic that may be contracted, and translatable to Metal's language.
  find_program(SILICA_SPIRV_VAL spirv-val)
  find_program(SILICA_SPIRV_DIS spirv-dis)
  find_program(SILICA_SPIRV_CROSS spirv-cross)
  mark_as_advanced(SILICA_SPIRV_VAL SILICA_SPIRV_DIS SILICA_SPIRV_CROSS)
  if(SILICA_SPIRV_VAL AND SILICA_SPIRV_DIS AND SILICA_SPIRV_CROSS)
    add_test(NAME spirv_test
      COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/spirv_test.sh ${SILICA_SPIRV_VAL} ${SILICA_SPIRV_DIS}
              ${SILICA_SPIRV_CROSS} ${SILICA_SPIRV_MODULES})
  else()
    message(STATUS "spirv_test is left out: it needs spirv-val, spirv-dis (spirv-tools) and spirv-cross")
  endif()
endif()
