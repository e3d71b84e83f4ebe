// Package appmetrics adds up what the processes of an application count with
// prometheus_client.
//
// # Where the figures are
//
// A process that imports the library makes memory of a fixed size, and gives it to the
// master before anything is counted (protocol.KindMetrics). The library's values are
// cells in it (worker/python/appmetrics.c). So a worker that hangs has its figures
// there, and so has one that was killed. What has no value until somebody asks is put there
// when the master does (protocol.KindCollect).
//
//	0       magic | 8 bytes of records published | 16 values that had no room
//	64      records, which are only ever appended
//	7 MiB   cells: what is added to has one, what is set (gauges, what collectors say) two
//
// A record has its size in two bytes (a multiple of 8), its kind, what there is of it, in
// four bytes its number, and then
//
//	family  mode, number of labels, name, help, names of the labels
//	value   its family's number (4 bytes), values of the labels
//	full    nothing: the family of that number had no room for a value
//
// where a text has its length before it, in two bytes. Numbers go up from 0: a family's is
// how many there were before it, a value's how many cells.
//
// # Nobody is believed
//
// Workers run the application, and may be another user's. The memory is only mapped if it
// is of the kernel's own and its size is sealed, so that nothing can be taken away below
// us; what is read of it is copied first, checked, and never looked at again; all counts
// and sizes have bounds. Who writes nonsense spoils what he has counted himself: his
// records are believed up to the first bad one. What all processes together may have is
// bounded, too (maxSeries, maxTextBytes).
//
// # How they are put together
//
// As by the library's own MultiProcessCollector, with two differences. The label by which
// gauges of the modes all and liveall are told apart is the worker's number, not its pid.
// And there are no files: when a process ends, its counters, and its gauges but for the
// live ones, are added to what is kept of those that ended before. Series move from the
// living to the dead in one step, with the lock held, so no scrape has them twice or not
// at all. The gauges of a generation that has no worker any more go; its counters stay as
// long as the master lives.
//
// A mold counts for itself what it counts, before the first worker and while it runs. Its
// gauges are its workers'.
package appmetrics
