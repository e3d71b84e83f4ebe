// Package worker is all that runs inside a worker process beside Python: it
// accepts connections, reads and parses requests, decides which Python thread
// runs which request, writes responses, keeps the time limits and drains.
//
// It is pure Go. Python and C are worker/python's business: a Python thread is
// to this package whoever calls Loop.Next in a loop with its Thread.
//
// # Who owns a connection
//
// A connection at rest is a file descriptor in the loop's epoll set
// (edge-triggered) and a small conn. In motion it belongs to exactly one party:
// a Python thread or the deputy. The state word says so:
//
//	rest ──claim──▶ owned ──release──▶ rest
//	                  │ ▲
//	       event ─────┘ └── owner finds "pending" at release, and reads again
//
// Whoever takes an event claims the connection; if it is owned already, the
// event is left as the pending bit for the owner. So one request costs no
// epoll_ctl(2), and no event is lost. Only an owner closes the descriptor.
//
// # Who waits where
//
// Of the Python threads one leads: it waits in epoll_wait(2), without the GIL.
// The others follow: each sleeps on its own futex word, the last to sleep is the
// first to be woken. A thread that took events handles them one by one and runs
// each whole request to its end before it looks at the next; the batch is
// shared, so another thread may take the rest. Queue and batch come by turns where
// both have something, so that neither starves the other.
//
//	Next ─▶ ready queue? ─▶ batch? ─▶ no leader? ─▶ Lead  (epoll_wait, then Next)
//	            │             │             └──────▶ Follow (futex, then Next)
//	            └──────┬──────┘
//	                  Run (the application, then Next)
//
// If calls into the application have been slow lately, a thread that goes into
// it wakes a follower first. If they have been quick it does not, and should it
// stay away for a millisecond all the same, the deputy wakes one. With no
// follower left, the deputy polls the set itself: it reads, parses and queues.
// So Python being wedged never makes a worker deaf.
//
// CPython's lock is not fair: a thread that releases it and wants it again at once
// gets it, however long another has waited. So a thread that has finished a
// request while another waits for the GIL gives way (Thread.giveWay): where calls
// are quick it steps down, as one thread can do all the work; where they are slow
// it waits for the other to have had its turn.
//
// # Where an event loop runs the requests
//
// There is one Python thread then, which never waits for one request, and any number of
// them at once (Async). Each has a seat, a small Thread, until Finish. Between two waits the
// loop's thread has a turn: it asks for what there is, a new request or news for one that
// waits, until there is nothing more. While it waits it is the leader; while it is away,
// whatever it is at, the deputy does what it does where all threads are away.
//
// An event of a connection whose request runs makes the seat be looked at (watch), and what
// is so then is told the request, if it has asked for it. Nothing is lost by an event that
// comes too early, and nothing done twice by one that comes too late.
//
// Calls from a Python thread are leaves: they never wait for anything but short
// critical sections.
package worker
