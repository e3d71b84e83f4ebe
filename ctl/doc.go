// Package ctl is hostler ctl: both ends of the control socket by which an
// operator controls a running server.
//
// It speaks HTTP with JSON bodies, so that scripts can do without our client
// (curl --unix-socket PATH http://hostler/v1/status). Fields and paths are added
// within a major version, none is renamed or removed.
//
//	GET  /v1/status                   Status
//	GET  /v1/samples                  Samples
//	GET  /v1/events                   Events
//	GET  /v1/slow                     Slow
//	GET  /v1/config                   Config
//	POST /v1/reload                   Done; answers when the new generation serves, or has failed
//	POST /v1/scale      ScaleRequest  Scaled; the workers come and go afterwards
//	POST /v1/restart    WorkerRequest Done; answers when the replacements serve
//	POST /v1/dump       WorkerRequest Dumped
//	POST /v1/profile    ProfileRequest protocol.Profile; after so many seconds
//	POST /v1/upgrade                  Done; answers when the new binary serves, or has failed
//	POST /v1/drain                    Done; answers when no worker is left
//	POST /v1/log-level  LevelRequest  Level
//
// What fails answers Failure: 400 for a request that makes no sense, 409 for
// what could not be done. Who goes away while waiting stops nothing.
//
// # The socket
//
// Its file has the rights 0600 from the moment it is made, and so only the user
// that the master runs as, and root, can connect. It is made under a name of its
// own and renamed over the final one: there is never a moment without an
// answer, neither where a dead server's file is replaced nor in an upgrade,
// where the old master answers until the new one serves. This is why it is
// not handed on: a listening socket that both masters shared would give either's
// answers. Each server removes the file at its end if it still is
// its own.
package ctl
