# SPDX-License-Identifier: LGPL-2.1-or-later
# SNAP_TRY_FLAGS(VARIABLE, FLAGS): AC_SUBST those flags the compiler knows.
AC_DEFUN([SNAP_TRY_FLAGS], [
  snap_save_CFLAGS=$CFLAGS
  $1=
  for snap_flag in m4_normalize([$2]); do
    CFLAGS="$snap_save_CFLAGS -Werror $snap_flag"
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM()], [$1="$$1 $snap_flag"])
  done
  CFLAGS=$snap_save_CFLAGS
  AC_SUBST([$1])
])
