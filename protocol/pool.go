package protocol

import "sync/atomic"

// MaxPools bounds the pools of threads that may be configured.
const MaxPools = 16

// PoolGauges describe a worker's pool.
type PoolGauges struct {
	Busy  atomic.Int64 // threads that run its requests
	Depth atomic.Int64 // whole requests that wait for one of these
}
