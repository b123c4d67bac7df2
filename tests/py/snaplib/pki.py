# SPDX-License-Identifier: LGPL-2.1-or-later
"""Certificates for tests, made by certtool of GnuTLS."""

from snaplib import tools

AUTHORITY = "cn = test authority\nca\ncert_signing_key\ncrl_signing_key\n"


def certtool(*words):
    tools.run(["certtool", "--ecc", "--outfile", *words])


def certificate(folder, name, template, authority):
    """NAME-key.pem and NAME-cert.pem, signed by an authority's folder."""
    (folder / "template").write_text(template)
    certtool(folder / f"{name}-key.pem", "--generate-privkey")
    certtool(folder / f"{name}-cert.pem", "--generate-certificate", "--template",
             folder / "template", "--load-privkey", folder / f"{name}-key.pem",
             "--load-ca-certificate", authority / "ca-cert.pem",
             "--load-ca-privkey", authority / "ca-key.pem")


def make_authority(folder):
    folder.mkdir()
    (folder / "template").write_text(AUTHORITY)
    certtool(folder / "ca-key.pem", "--generate-privkey")
    certtool(folder / "ca-cert.pem", "--generate-self-signed", "--template",
             folder / "template", "--load-privkey", folder / "ca-key.pem")
    return folder


def make_certificates(folder):
    """A new folder with all that a server and its clients need."""
    make_authority(folder)
    certificate(folder, "server",
                "cn = localhost\ndns_name = localhost\nip_address = 127.0.0.1\n"
                "tls_www_server\nsigning_key\n", folder)
    certificate(folder, "client", "cn = a client\ntls_www_client\nsigning_key\n", folder)
    return folder
