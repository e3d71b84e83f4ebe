// Package admin answers operators and machines that ask how the server is:
//
//	/          what there is
//	/metrics   Prometheus metrics
//	/healthz   200 while the master works; restart the server if it does not
//	/readyz    200 while requests are being served, else 503 and why; send no
//	           traffic then. ?verbose lists every condition
//	/status    the master, every worker, every thread and its request: JSON, and
//	           for browsers a page, which /status/events keeps up to date
//
// No worker is asked for any of it. All answers come from the scoreboard and
// the master's last snapshot, so they come while every Python thread is stuck.
// All of it can be read only: what changes the server is hostler ctl, or a signal. (A
// flame graph can be asked for, which costs a little while it is made.)
//
// # What is shown
//
// /status shows the target of running requests, and the client's address, for an
// operator has to know which request it is that hangs. Query strings can hold what
// is private: they are shown only where that was asked for. The server listens on
// the loopback interface unless told otherwise, where every local user may ask;
// there it answers for no host name that a web page could have (Guard). Headers and
// bodies are never shown. Stacks and settings, these without the values of environment
// variables, are shown on loopback, on a Unix socket, and to who has --admin-token.
package admin
