// Package python is the bridge between Python and the worker's engine: the one
// package with cgo in it. C (the .c files beside this one) holds the Python
// threads' loop, builds environ and takes the application's answer; the functions
// exported here are the leaves that it calls. None of them waits, allocates on
// Python's side, or touches a Python object: Go knows objects as opaque numbers
// at most, whose reference it keeps and gives back (Loop.TakeGarbage).
//
// Memory: a Task is Go's, outside the Go heap, and lives as long as the process.
// What it points to is valid from the moment that Next returns Run to the
// thread's next call of Next.
package python

/*
#cgo CFLAGS: -std=gnu11 -O2 -Wall -Wextra -fvisibility=hidden
#cgo shared LDFLAGS: -Wl,--wrap=pthread_create
#cgo !shared LDFLAGS: -Wl,--unresolved-symbols=ignore-all
#include <stdint.h>
#include <stdlib.h>

extern int hostler_intervene(int what, int thread, int64_t taken);
extern int hostler_ask(int what, char *request, int64_t n);
extern void hostler_owns(int fd);
extern int gil_contended(void);
*/
import "C"

import (
	"unsafe"

	"hostler/worker"
	"hostler/worker/http1"
	"hostler/worker/websocket"
)

// w is the one worker of this process. It is package state since C has no better
// way to name it; hostlerInit sets it before any thread of C calls in.
var w *worker.Worker

// async is set where an event loop runs the requests: then each has a seat, of which there
// are as many as need be, and the index of a thread is its number.
var async *worker.Async

func thread(i C.int) *worker.Thread {
	if async != nil {
		return async.Seat(int(i))
	}
	return w.Loop.Thread(int(i))
}

//export hostlerInit
func hostlerInit(settings *C.char, n C.int64_t, wake C.int, why *C.char, size C.int) C.int {
	var err error
	w, err = worker.Open(C.GoStringN(settings, C.int(n)), int(wake))
	if err != nil {
		say(err.Error(), why, size)
		return -1
	}
	w.Loop.SetIntervene(func(what, thread int, taken int64) bool {
		return C.hostler_intervene(C.int(what), C.int(thread), C.int64_t(taken)) == 0
	})
	w.SetContended(func() bool { return C.gil_contended() != 0 })
	w.Loop.SetOwner(func(fd int) { C.hostler_owns(C.int(fd)) })
	w.SetAsk(func(what int, request string) bool {
		text := C.CString(request)
		defer C.free(unsafe.Pointer(text))
		return C.hostler_ask(C.int(what), text, C.int64_t(len(request))) == 0
	})
	return C.int(w.Threads())
}

//export hostlerServe
func hostlerServe(why *C.char, size C.int) C.int {
	if err := w.Serve(); err != nil {
		say(err.Error(), why, size)
		return -1
	}
	return 0
}

//export hostlerDrain
func hostlerDrain() { w.Leave() }

//export hostlerLeave
func hostlerLeave() C.int64_t { return C.int64_t(w.Finished()) }

//export hostlerSay
func hostlerSay(p unsafe.Pointer, n C.int64_t) { w.Say(unsafe.Slice((*byte)(p), n)) }

//export hostlerPrinted
func hostlerPrinted(stream unsafe.Pointer, length C.int64_t, line unsafe.Pointer, n C.int64_t) {
	w.Printed(string(unsafe.Slice((*byte)(stream), length)), unsafe.Slice((*byte)(line), n))
}

//export hostlerDumpFD
func hostlerDumpFD() C.int { return C.int(w.DumpFD()) }

//export hostlerPage
func hostlerPage(dst *C.char, size C.int) C.int { return say(w.Page(), dst, size) }

//export hostlerTask
func hostlerTask(i C.int) unsafe.Pointer { return unsafe.Pointer(thread(i).Task) }

//export hostlerNext
func hostlerNext(i C.int) C.int { return C.int(w.Loop.Next(thread(i))) }

//export hostlerNextHeld
func hostlerNextHeld(i C.int) C.int { return C.int(w.Loop.NextHeld(thread(i))) }

//export hostlerHead
func hostlerHead(i C.int, off *C.uint32_t) C.int {
	e, o := thread(i).SetHead()
	*off = C.uint32_t(o)
	return C.int(e)
}

//export hostlerHeadSent
func hostlerHeadSent(i C.int) C.int {
	if thread(i).HeadSent() {
		return 1
	}
	return 0
}

//export hostlerRaised
func hostlerRaised(i C.int, p *C.char, n C.int64_t) {
	thread(i).Raised(unsafe.Slice((*byte)(unsafe.Pointer(p)), n))
}

//export hostlerRule
func hostlerRule(i C.int, p *C.char, n C.int64_t) {
	thread(i).SetRule(unsafe.Slice((*byte)(unsafe.Pointer(p)), n))
}

//export hostlerHeadError
func hostlerHeadError(code C.int, why *C.char, size C.int) {
	say(http1.HeadError(code).Error(), why, size)
}

//export hostlerWrite
func hostlerWrite(i C.int, p unsafe.Pointer, n C.int64_t, ref C.uintptr_t, piece C.int) C.int {
	t, data := thread(i), unsafe.Slice((*byte)(p), n)
	if piece == worker.PieceMore {
		return C.int(t.WriteOn(data, uintptr(ref)))
	}
	return C.int(t.Write(data, uintptr(ref), piece == worker.PieceWhole))
}

//export hostlerEndBody
func hostlerEndBody(i C.int) { thread(i).EndBody() }

//export hostlerWaitRoom
func hostlerWaitRoom(i C.int) C.int { return C.int(thread(i).WaitRoom()) }

//export hostlerRead
func hostlerRead(i C.int, p unsafe.Pointer, n C.int64_t) C.int64_t {
	return C.int64_t(thread(i).Read(unsafe.Slice((*byte)(p), n)))
}

// hostlerReadAt may wait for the disk, and is called without the GIL; and so is
// hostlerRead where part of the body is in a file.
//
//export hostlerReadAt
func hostlerReadAt(i C.int, p unsafe.Pointer, n, off C.int64_t) C.int64_t {
	return C.int64_t(thread(i).ReadAt(unsafe.Slice((*byte)(p), n), int64(off)))
}

//export hostlerIdentify
func hostlerIdentify(i C.int, ident C.uint64_t) { thread(i).Identify(uint64(ident)) }

//export hostlerWait
func hostlerWait(i C.int, start C.int64_t) C.int64_t {
	return C.int64_t(thread(i).Wait(int64(start)))
}

//export hostlerWaited
func hostlerWaited(i C.int, start, since C.int64_t) {
	thread(i).Waited(int64(start), int64(since))
}

//export hostlerSendFile
func hostlerSendFile(i C.int, fd C.int, off C.int64_t) C.int {
	if thread(i).SendFile(int(fd), int64(off)) {
		return 1
	}
	return 0
}

//export hostlerSendPart
func hostlerSendPart(i C.int, fd C.int, off, n C.int64_t, more C.int) C.int {
	return C.int(thread(i).SendPart(int(fd), int64(off), int64(n), more != 0))
}

//export hostlerTrailers
func hostlerTrailers(i C.int) { thread(i).Trailers() }

//export hostlerEndTrailers
func hostlerEndTrailers(i C.int, p unsafe.Pointer, n C.int64_t, more C.int) C.int {
	return C.int(thread(i).EndTrailers(unsafe.Slice((*byte)(p), n), more != 0))
}

//export hostlerHints
func hostlerHints(i C.int, p unsafe.Pointer, n C.int64_t) C.int {
	return C.int(thread(i).EarlyHints(unsafe.Slice((*byte)(p), n)))
}

//export hostlerGarbage
func hostlerGarbage(refs *C.uintptr_t, n C.int) C.int {
	return C.int(w.Loop.TakeGarbage(unsafe.Slice((*uintptr)(unsafe.Pointer(refs)), n)))
}

//export hostlerGILWanted
func hostlerGILWanted(wanted C.int) { w.Loop.GILWanted(wanted != 0) }

//export hostlerStacked
func hostlerStacked(i C.int, taken C.int64_t, p unsafe.Pointer, n C.int64_t) {
	w.Loop.Stacked(int(i), int64(taken), string(unsafe.Slice((*byte)(p), n)))
}

//export hostlerSlow
func hostlerSlow(i C.int, p unsafe.Pointer, n C.int64_t) {
	async.Slow(int(i), string(unsafe.Slice((*byte)(p), n)))
}

// hostlerProfiled waits, and is called without the GIL.
//
//export hostlerProfiled
func hostlerProfiled(p unsafe.Pointer, n C.int64_t) {
	w.Profiled(string(unsafe.Slice((*byte)(p), n)))
}

// hostlerCollected likewise.
//
//export hostlerCollected
func hostlerCollected() { w.Collected() }

//export hostlerDeadline
func hostlerDeadline(i C.int, in C.int64_t, left *C.int64_t) C.int {
	n, ok := thread(i).Deadline(int64(in))
	*left = C.int64_t(n)
	if ok {
		return 1
	}
	return 0
}

//export hostlerKnownName
func hostlerKnownName(i C.int, dst *C.char, size C.int) C.int {
	if int(i) >= len(http1.KnownFields) {
		return 0
	}
	return say(http1.KnownFields[i], dst, size)
}

//export hostlerMethodName
func hostlerMethodName(i C.int, dst *C.char, size C.int) C.int {
	if int(i) >= len(http1.KnownMethods) {
		return 0
	}
	return say(http1.KnownMethods[i], dst, size)
}

// hostlerAsync is called before hostlerServe, where an event loop runs the requests.
//
//export hostlerAsync
func hostlerAsync() { async = worker.NewAsync(w.Loop) }

// hostlerGreen is hostlerAsync where the loop's greenlets run them.
//
//export hostlerGreen
func hostlerGreen() { async = worker.NewGreen(w.Loop) }

//export hostlerAway
func hostlerAway() { async.Away() }

// hostlerForeign says that the loop is not ours, after hostlerAsync.
//
//export hostlerForeign
func hostlerForeign() { async.Foreign() }

//export hostlerTurn
func hostlerTurn(polled C.int, seat, what *C.uint32_t) C.int {
	rc, i, notice := async.Turn(polled != 0)
	*seat, *what = C.uint32_t(i), C.uint32_t(notice)
	return C.int(rc)
}

//export hostlerAwait
func hostlerAwait(i C.int, what C.uint32_t) C.uint32_t {
	return C.uint32_t(thread(i).Await(uint32(what)))
}

//export hostlerSendHead
func hostlerSendHead(i C.int) C.int { return C.int(async.SendHead(int(i))) }

//export hostlerFinish
func hostlerFinish(i C.int) { async.Finish(int(i)) }

//export hostlerFlush
func hostlerFlush(waits C.int) { async.Flush(waits != 0) }

//export hostlerStep
func hostlerStep(i C.int) C.int64_t { return C.int64_t(async.Step(int(i))) }

//export hostlerStepped
func hostlerStepped() { async.Stepped() }

//export hostlerGraceLeft
func hostlerGraceLeft() C.int64_t { return C.int64_t(w.Loop.GraceLeft()) }

//export hostlerLeaving
func hostlerLeaving() C.int {
	if w.ToldToLeave() {
		return 1
	}
	return 0
}

//export hostlerSocketAccept
func hostlerSocketAccept(i C.int, protocol *C.char, n, fields C.int64_t, why *C.char, size C.int) C.int64_t {
	t := thread(i)
	number, err := async.AcceptSocket(int(i), unsafe.Slice((*byte)(unsafe.Pointer(protocol)), n), t.Fields(int(fields)))
	if err != nil {
		say(err.Error(), why, size)
		return -1
	}
	return C.int64_t(number)
}

//export hostlerSocketAwait
func hostlerSocketAwait(number, what C.uint32_t) C.uint32_t {
	return C.uint32_t(thread(0).Socket(uint32(number)).Await(uint32(what)))
}

//export hostlerSocketReceive
func hostlerSocketReceive(number C.uint32_t, data *C.uintptr_t, n *C.int64_t, code *C.int) C.int {
	kind, b, c := thread(0).Socket(uint32(number)).Receive()
	*data, *n, *code = C.uintptr_t(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), C.int64_t(len(b)), C.int(c)
	return C.int(kind)
}

//export hostlerSocketSend
func hostlerSocketSend(number C.uint32_t, kind C.int, p unsafe.Pointer, n C.int64_t, ref C.uintptr_t, kept *C.int) C.int {
	rc, keeps := thread(0).Socket(uint32(number)).Send(websocket.Opcode(kind), unsafe.Slice((*byte)(p), n), uintptr(ref))
	if keeps {
		*kept = 1
	}
	return C.int(rc)
}

//export hostlerSocketClose
func hostlerSocketClose(number C.uint32_t, code C.int64_t, reason *C.char, n C.int64_t) C.int {
	if !websocket.Sendable(int(code)) {
		return -1
	}
	thread(0).Socket(uint32(number)).Close(int(code), C.GoStringN(reason, C.int(n)))
	return 0
}

//export hostlerSocketDone
func hostlerSocketDone(number C.uint32_t, code C.int) {
	thread(0).Socket(uint32(number)).Done(int(code), "")
}

//export hostlerSocketJoin
func hostlerSocketJoin(i C.int, protocol *C.char, n, fields C.int64_t, news *C.uint32_t, why *C.char, size C.int) C.int64_t {
	t := thread(i)
	number, err := t.AcceptWaiting(unsafe.Slice((*byte)(unsafe.Pointer(protocol)), n), t.Fields(int(fields)), (*uint32)(unsafe.Pointer(news)))
	if err != nil {
		say(err.Error(), why, size)
		return -1
	}
	return C.int64_t(number)
}

//export hostlerSocketAsk
func hostlerSocketAsk(number, what C.uint32_t) C.uint32_t {
	return C.uint32_t(thread(0).Socket(uint32(number)).Ask(uint32(what)))
}

//export hostlerSocketEnd
func hostlerSocketEnd(number C.uint32_t, reason *C.char, size C.int, n *C.int) C.int {
	code, text := thread(0).Socket(uint32(number)).End()
	*n = say(text, reason, size)
	return C.int(code)
}

//export hostlerSocketTake
func hostlerSocketTake(i C.int, why *C.char, size C.int) C.int {
	fd, err := thread(i).TakeSocket()
	if err != nil {
		say(err.Error(), why, size)
	}
	return C.int(fd)
}

//export hostlerOwnAnswer
func hostlerOwnAnswer(i C.int) C.int {
	if thread(i).OwnAnswer() {
		return 1
	}
	return 0
}

// say copies s to dst as a C string, cut to fit, and returns its length.
func say(s string, dst *C.char, size C.int) C.int {
	b := unsafe.Slice((*byte)(unsafe.Pointer(dst)), size)
	n := copy(b[:size-1], s)
	b[n] = 0
	return C.int(n)
}
