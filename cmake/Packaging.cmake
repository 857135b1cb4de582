# What is installed where, and the Debian package:
#
#   cmake --install build/release --prefix /usr/local      program, manual page, completion, docs
#   cd build/release && cpack -G DEB                        the same below /usr, and the service
#
# Component `etch` is the program anywhere; component `service` is what only a package owns: the
# unit, its settings in /etc, the user. Texts that the program itself prints are made by running it
# when it is installed.

include(GNUInstallDirs)

set(etch_maintainer "Etch maintainers <etch@users.noreply.github.com>")

install(TARGETS etch RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT etch)

set(etch_completion ${CMAKE_INSTALL_DATADIR}/bash-completion/completions/etch)
install(CODE "
  set(etch_program \"$<TARGET_FILE:etch>\")
  set(etch_version \"${PROJECT_VERSION}\")
  set(etch_prefix \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}\")
  set(etch_bash \"\${etch_prefix}/${etch_completion}\")
  set(etch_man \"\${etch_prefix}/${CMAKE_INSTALL_MANDIR}/man1\")
  include(\"${CMAKE_CURRENT_LIST_DIR}/PrintedTexts.cmake\")"
  COMPONENT etch)
install(FILES README.md docs/fleet.md docs/tuning.md docs/numeric-contract.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT etch)
install(DIRECTORY deploy/haproxy deploy/envoy deploy/kubernetes
  DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples COMPONENT etch)

install(FILES deploy/systemd/etch.service DESTINATION /lib/systemd/system
  COMPONENT service EXCLUDE_FROM_ALL)
install(FILES deploy/systemd/etch.sysusers DESTINATION /usr/lib/sysusers.d RENAME etch.conf
  COMPONENT service EXCLUDE_FROM_ALL)
install(FILES deploy/systemd/serve.conf DESTINATION /etc/etch COMPONENT service EXCLUDE_FROM_ALL)
install(FILES deploy/debian/lintian-overrides DESTINATION /usr/share/lintian/overrides RENAME etch
  COMPONENT service EXCLUDE_FROM_ALL)
install(FILES deploy/debian/copyright DESTINATION /usr/share/doc/etch
  COMPONENT service EXCLUDE_FROM_ALL)
install(CODE "
  set(etch_version \"${PROJECT_VERSION}\")
  set(etch_maintainer \"${etch_maintainer}\")
  set(etch_changes \"${PROJECT_SOURCE_DIR}/CHANGELOG.md\")
  set(etch_doc \"\$ENV{DESTDIR}/usr/share/doc/etch\")
  include(\"${CMAKE_CURRENT_LIST_DIR}/DebianChangelog.cmake\")"
  COMPONENT service EXCLUDE_FROM_ALL)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME etch)
set(CPACK_PACKAGE_VENDOR Etch)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "language model hardwired to 3 bits, served with adapters")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL etch service)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "${etch_maintainer}")
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS systemd)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS haproxy)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"Etch freezes one open-weight language model into an image of 3-bit weights
that computes the same bits on every backend, and serves it over the OpenAI
API with a LoRA adapter for each request. The package holds the program, a
systemd unit and examples of a fleet behind a load balancer.")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
foreach(file conffiles postinst prerm postrm)
  list(APPEND CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA "${PROJECT_SOURCE_DIR}/deploy/debian/${file}")
endforeach()
include(CPack)
