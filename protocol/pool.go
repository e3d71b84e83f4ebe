package protocol

import "sync/atomic"

// MaxPools bounds the pools of threads that may be configured.
const MaxPools = 16

// Pool lets requests whose path matches Pattern run on at most Threads threads of a
// worker at once. A request belongs to the first pool that matches.
type Pool struct {
	Name    string `json:"name"`
	Pattern string `json:"pattern"` // "*" stands for any bytes
	Threads int    `json:"threads"`
}

// PoolGauges describe a worker's pool.
type PoolGauges struct {
	Busy  atomic.Int64 // threads that run its requests
	Depth atomic.Int64 // whole requests that wait for one of these
}
