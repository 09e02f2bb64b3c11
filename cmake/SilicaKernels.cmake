# SPDX-License-Identifier: MIT
# Compiles kernels/<family>/<family>.cpp once for each instruction set, into a namespace of that name.
# -fno-math-errno and -fno-trapping-math give up errno and exception flags, not bits; selects vectorise with them.
function(silica_add_cpu_kernels target)
  set(isas baseline)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND isas avx2 avx512)
  endif()
  set(flags_baseline "")
  set(flags_avx2 -mavx2 -mfma -mf16c)
  set(flags_avx512 -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma -mf16c -mprefer-vector-width=512)
  # Else g++ makes one branch of several selects by one condition, and of a product of selected factors two products.
  set_source_files_properties(kernels/map/map.cpp PROPERTIES
                              COMPILE_OPTIONS $<$<CXX_COMPILER_ID:GNU>:-fno-thread-jumps>)
  set(level $<$<NOT:$<CONFIG:Debug>>:-O3>)
  if(SILICA_SANITIZE)
    set(level -O1)  # at -O3 the instrumented matmul takes minutes to compile
  endif()
  foreach(isa IN LISTS isas)
    set(kernels silica_kernels_${isa})
    add_library(${kernels} OBJECT
      kernels/adamw/adamw.cpp kernels/embedding/embedding.cpp kernels/layout/layout.cpp kernels/map/map.cpp
      kernels/matmul/matmul.cpp kernels/row/row.cpp kernels/row/softmax.cpp)
    silica_target(${kernels})
    target_compile_features(${kernels} PRIVATE cxx_std_20)
    target_compile_definitions(${kernels} PRIVATE SILICA_ISA=${isa})
    # A loop that clang does not vectorise is slow, not wrong.
    target_compile_options(${kernels} PRIVATE $<$<CXX_COMPILER_ID:Clang,AppleClang>:-Wno-pass-failed>)
    target_compile_options(${kernels} PRIVATE ${level} -fno-math-errno -fno-trapping-math
                                              ${flags_${isa}})
    target_include_directories(${kernels} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
    set_target_properties(${kernels} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${kernels}>)
  endforeach()
endfunction()
