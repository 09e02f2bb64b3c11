# SPDX-License-Identifier: MIT
# What every target of this project is compiled with. Contraction is off: a*b+c rounds twice unless the source says
# fma. No flag here or elsewhere may change a result.
function(silica_target target)
  target_compile_options(${target} PRIVATE -ffp-contract=off -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
  if(SILICA_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(SILICA_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${SILICA_SANITIZE} -fno-omit-frame-pointer -g1
                                             -fno-sanitize-recover=all)
    if(SILICA_SANITIZE STREQUAL "thread")
      target_compile_definitions(${target} PRIVATE SILICA_TSAN)
    endif()
    target_link_options(${target} PUBLIC -fsanitize=${SILICA_SANITIZE})
  endif()
endfunction()
