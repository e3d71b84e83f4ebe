package logfile

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// as runs do with somebody else's rights on files. They are those of a thread, which
// ends with that.
func as(who *syscall.Credential, do func()) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good
		if unix.Gettid() == unix.Getpid() {
			// The first thread does not end, and others look at its rights to learn the
			// process's. While this goroutine has it, another gets another.
			done <- as(who, do)
			runtime.UnlockOSThread()
			return
		}
		err := become(who)
		if err == nil {
			do()
		}
		done <- err
	}()
	return <-done
}

// become gives this thread the rights on files of who. The capabilities that go
// beyond them are lost with the user's number.
func become(who *syscall.Credential) error {
	groups := who.Groups
	var list unsafe.Pointer
	if len(groups) > 0 {
		list = unsafe.Pointer(&groups[0])
	}
	// For this thread alone, which syscall.Setgroups is not.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(list), 0); errno != 0 {
		return fmt.Errorf("cannot have the workers' groups: %w", errno)
	}
	_ = unix.Setfsgid(int(who.Gid)) // says nothing of use
	_ = unix.Setfsuid(int(who.Uid))
	// An invalid number changes nothing, and tells what they are.
	if uid, _ := unix.SetfsuidRetUid(-1); uid != int(who.Uid) {
		return fmt.Errorf("cannot have the rights of user %d", who.Uid)
	}
	if gid, _ := unix.SetfsgidRetGid(-1); gid != int(who.Gid) {
		return fmt.Errorf("cannot have the rights of group %d", who.Gid)
	}
	return nil
}

// faccessat2 is access(2) for the rights on files of this thread.
func faccessat2(dir int, mode, flags int) syscall.Errno {
	var empty [1]byte
	_, _, errno := unix.RawSyscall6(unix.SYS_FACCESSAT2, uintptr(dir), uintptr(unsafe.Pointer(&empty[0])), uintptr(mode), uintptr(flags), 0, 0)
	return errno
}
