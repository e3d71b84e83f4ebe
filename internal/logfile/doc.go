// Package logfile opens log files by name for a root process whose workers run as
// another user, and may be evil: no name that they can change makes the process
// open anything that they could not open themselves, or wait.
//
// A path is walked directory by directory. As long as nobody but root (or somebody
// whom the workers have no power over) can change what is there, links are
// followed, and whatever the administrator has put there on purpose is opened: a
// FIFO, a device. From the first directory on that the workers can write to, no link
// is followed, the file is opened with the workers' own rights (setfsuid(2)), and it
// has to be a regular file.
package logfile
