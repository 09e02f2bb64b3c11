# SPDX-License-Identifier: MIT
# find_package(silica CONFIG) and pkg-config for whoever uses the installed library.
include(CMakePackageConfigHelpers)

install(TARGETS silica EXPORT silica-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/silica DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT silica-targets NAMESPACE silica:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/silica)

configure_package_config_file(cmake/silica-config.cmake.in silica-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/silica)
write_basic_package_version_file(silica-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/silica-config.cmake ${PROJECT_BINARY_DIR}/silica-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/silica)

configure_file(cmake/silica.pc.in silica.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/silica.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(SILICA_BUILD_APPS)
  install(TARGETS silica_app RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
