// Package admin answers operators and machines that ask how the server is:
//
//	/          what there is
//	/metrics   Prometheus metrics
//	/healthz   200 while the master works; restart the server if it does not
//	/readyz    200 while requests are being served, else 503 and why; send no
//	           traffic then. ?verbose lists every condition
//	/status    JSON: the master, every worker, every thread and its request
//
// No worker is asked for any of it. All answers come from the scoreboard and
// the master's last snapshot, so they come while every Python thread is stuck.
// All of it can be read only: what changes the server is a signal.
//
// # What is shown
//
// /status shows the target of running requests with its query string, and the
// client's address, for an operator has to know which request it is that hangs.
// Query strings can hold what is private; therefore the server listens on the
// loopback interface unless told otherwise, and whoever binds it elsewhere
// decides who may read them. Headers, bodies, environment variables and settings
// are never shown.
package admin
