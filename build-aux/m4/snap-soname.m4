# SPDX-License-Identifier: LGPL-2.1-or-later
# SNAP_SONAME(VARIABLE, LIBRARY, LIBS, FUNCTION): AC_SUBST the name that a
# program linked with it asks the loader for.
AC_DEFUN([SNAP_SONAME], [
  AC_MSG_CHECKING([for the name of $2 at run time])
  snap_save_LIBS=$LIBS
  LIBS="$3 $LIBS"
  $1=
  AC_LINK_IFELSE([AC_LANG_CALL([], [$4])],
    [$1=`$OBJDUMP -p conftest$EXEEXT \
       | $AWK -v name="$2.so" ['$][1 == "NEEDED" && index ($][2, name) == 1 { print $][2 }']`])
  LIBS=$snap_save_LIBS
  AC_MSG_RESULT([$$1])
  AS_IF([test -z "$$1"], [AC_MSG_ERROR([$2: is not a shared library])])
  AC_SUBST([$1])
])
