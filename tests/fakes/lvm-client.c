/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Called as lvm: has the process that listens at $LVM_SERVER run the command by
 * LVM's library (snaplib/lvm2.py), and ends as the program would.  Small and
 * static, for where starting a program costs more than what it does.
 *
 * To the server: the arguments, a NUL after each.  From it: three numbers of
 * four bytes, the exit code and how much follows for both outputs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void
give_up (const char *what)
{
  perror (what);
  exit (1);
}

static void
write_all (int fd, const char *data, size_t length)
{
  while (length > 0) {
    ssize_t n = write (fd, data, length);

    if (n <= 0)
      give_up ("lvm-client: write");
    data += n;
    length -= n;
  }
}

static void
read_all (int fd, void *data, size_t length)
{
  for (char *at = data; length > 0;) {
    ssize_t n = read (fd, at, length);

    if (n <= 0)
      give_up ("lvm-client: read");
    at += n;
    length -= n;
  }
}

static int
connect_to_server (void)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  const char *path = getenv ("LVM_SERVER");
  int fd = socket (AF_UNIX, SOCK_STREAM, 0);

  if (path == NULL || strlen (path) >= sizeof address.sun_path)
    give_up ("lvm-client: LVM_SERVER");
  strcpy (address.sun_path, path);
  if (connect (fd, (struct sockaddr *) &address, sizeof address) != 0)
    give_up (path);
  return fd;
}

static void
pass_on (int from, int to, size_t length)
{
  char *data = malloc (length + 1);

  if (data == NULL)
    give_up ("lvm-client: memory");
  read_all (from, data, length);
  write_all (to, data, length);
  free (data);
}

int
main (int argc, char **argv)
{
  int server = connect_to_server ();
  unsigned answer[3];

  for (int i = 1; i < argc; i++)
    write_all (server, argv[i], strlen (argv[i]) + 1);
  shutdown (server, SHUT_WR);
  read_all (server, answer, sizeof answer);
  pass_on (server, STDOUT_FILENO, answer[1]);
  pass_on (server, STDERR_FILENO, answer[2]);
  return (int) answer[0];
}
