# The public face: its headers alone in one directory (hotrow_headers), the shared library (hotrow), and what is installed.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(public_folders kernels/base kernels cache ps worker)
set(public_libraries hr_base hr_kernels hr_cache hr_wire hr_ps hr_worker)

# Links to the public headers, so that who is given this directory cannot include <hr/...>.
set(public_header_dir ${CMAKE_BINARY_DIR}/include)
foreach(folder ${public_folders})
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/include/hotrow/*.h)
  list(APPEND public_headers ${headers})
endforeach()
file(MAKE_DIRECTORY ${public_header_dir}/hotrow)
foreach(header ${public_headers})
  cmake_path(GET header FILENAME name)
  file(CREATE_LINK ${header} ${public_header_dir}/hotrow/${name} SYMBOLIC)
endforeach()
add_library(hotrow_headers INTERFACE)
target_include_directories(hotrow_headers INTERFACE ${public_header_dir})

# What programs of this project link: the static libraries, and of their headers only the public ones.
add_library(hotrow_public INTERFACE)
target_link_libraries(hotrow_public INTERFACE hotrow_headers)
foreach(library ${public_libraries})
  target_link_libraries(hotrow_public INTERFACE $<LINK_ONLY:${library}>)
  list(APPEND public_objects $<TARGET_OBJECTS:${library}>)
endforeach()

# Whole, not only what somebody calls. The static libraries follow for what they link; they have nothing left to add.
add_library(hotrow SHARED ${public_objects})
target_link_libraries(hotrow PUBLIC $<BUILD_INTERFACE:hotrow_headers> PRIVATE hotrow_flags ${public_libraries})
target_include_directories(hotrow INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
set(version_script ${CMAKE_SOURCE_DIR}/.cmake/hotrow.map)
target_link_options(hotrow PRIVATE -Wl,--version-script=${version_script} -Wl,-Bsymbolic-functions)
if(NOT HOTROW_SANITIZE)
  target_link_options(hotrow PRIVATE -Wl,-z,defs)
endif()
set_target_properties(hotrow PROPERTIES
  LINKER_LANGUAGE C
  LINK_DEPENDS ${version_script}
  VERSION ${PROJECT_VERSION}
  SOVERSION 0
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

install(TARGETS hotrow EXPORT hotrow-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${public_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hotrow)

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/hotrow)
install(EXPORT hotrow-targets NAMESPACE hotrow:: DESTINATION ${config_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/hotrow-config.cmake.in ${CMAKE_BINARY_DIR}/hotrow-config.cmake
  INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/hotrow-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/hotrow-config.cmake ${CMAKE_BINARY_DIR}/hotrow-config-version.cmake
  DESTINATION ${config_dir})
file(RELATIVE_PATH prefix_from_pc ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(${CMAKE_CURRENT_LIST_DIR}/hotrow.pc.in ${CMAKE_BINARY_DIR}/hotrow.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/hotrow.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
