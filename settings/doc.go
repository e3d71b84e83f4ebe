// Package settings is the vocabulary of the settings: what each is called and what
// type it has, once for all who speak of it.
//
//	config ──fills──▶ Master ⊃ Worker ──is part of──▶ protocol.WorkerConfig ──▶ a worker
//
// Config fills it from the command line, the environment and a file. The master runs
// on a [Master]. The [Worker] in it goes to every worker as it is, with what is the
// worker's own beside it. Nobody copies settings from one struct to another: a new one
// is a field here, a row of config's table, and its use.
//
// The package depends on nothing of ours but the names of logs' formats, so that all
// others may depend on it.
package settings
