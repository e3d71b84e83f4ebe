package protocol

import (
	"encoding/json"
	"fmt"
)

// HookCall is the text of a KindHook message.
type HookCall struct {
	Hook   string      `json:"hook"`
	Worker *HookWorker `json:"worker,omitempty"` // for hooks about one

	// How many workers there are to be, and were, for the hook about that.
	Workers int  `json:"workers,omitempty"`
	Before  *int `json:"before,omitempty"` // nil: there was no number yet
}

// HookWorker is what a hook of the master's is told of a worker.
type HookWorker struct {
	PID        int    `json:"pid"`
	Number     int    `json:"number"`
	Generation int    `json:"generation"`
	Cause      string `json:"cause"`  // as in the exits metric
	Status     string `json:"status"` // "exit:3", "signal:SIGSEGV"
}

// Message returns the message that asks for the call.
func (c HookCall) Message() Message {
	b, err := json.Marshal(c)
	if err != nil { // a struct of numbers and strings
		panic(fmt.Sprintf("cannot encode a call of a hook: %v", err))
	}
	return Message{Kind: KindHook, Text: string(b)}
}
