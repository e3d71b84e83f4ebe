package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Payload is the form of what follows a message's kind.
type Payload uint8

// The forms.
const (
	PayloadNone       Payload = iota
	PayloadText               // Text, to the packet's end
	PayloadEnd                // the end of Text, where all of it has no room
	PayloadThread             // Thread and Start: a request
	PayloadDrain              // Mode and Grace
	PayloadDescriptor         // Number
	numPayloads
)

// payloads are the two halves of each form, and the fields of a Message that travel.
var payloads = [numPayloads]struct {
	fields []string
	append func(dst []byte, m *Message) []byte
	parse  func(body []byte, m *Message) error
}{
	PayloadNone:       {nil, appendNone, parseNone},
	PayloadText:       {[]string{"Text"}, appendText, parseText},
	PayloadEnd:        {[]string{"Text"}, appendEnd, parseText},
	PayloadThread:     {[]string{"Thread", "Start"}, appendThread, parseThread},
	PayloadDrain:      {[]string{"Mode", "Grace"}, appendDrain, parseDrain},
	PayloadDescriptor: {[]string{"Number"}, appendDescriptor, parseDescriptor},
}

// Fields are the fields of a Message that a payload of this form carries.
func (p Payload) Fields() []string { return payloads[p].fields }

func appendNone(dst []byte, _ *Message) []byte { return dst }

func parseNone(body []byte, _ *Message) error {
	if len(body) != 0 {
		return errors.New("a payload")
	}
	return nil
}

func appendText(dst []byte, m *Message) []byte { return append(dst, m.Text...) }

// appendEnd keeps the end of a text: that of a traceback says most.
func appendEnd(dst []byte, m *Message) []byte {
	t := m.Text
	return append(dst, t[max(len(t)-(MaxMessage-1), 0):]...)
}

func parseText(body []byte, m *Message) error {
	m.Text = string(body)
	return nil
}

func appendThread(dst []byte, m *Message) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(m.Thread))
	return binary.LittleEndian.AppendUint64(dst, uint64(m.Start))
}

func parseThread(body []byte, m *Message) error {
	if len(body) != 12 {
		return fmt.Errorf("%d bytes", len(body))
	}
	thread, start := binary.LittleEndian.Uint32(body), int64(binary.LittleEndian.Uint64(body[4:]))
	if thread >= MaxThreads || start <= 0 {
		return fmt.Errorf("thread %d, start %d", thread, start)
	}
	m.Thread, m.Start = int(thread), start
	return nil
}

func appendDrain(dst []byte, m *Message) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, byte(m.Mode)), uint64(m.Grace))
}

func parseDrain(body []byte, m *Message) error {
	if len(body) != 9 {
		return fmt.Errorf("%d bytes", len(body))
	}
	m.Mode = DrainMode(body[0])
	if m.Mode != DrainReplaced && m.Mode != DrainStop && m.Mode != DrainQuick {
		return fmt.Errorf("drain mode %q", body[0])
	}
	m.Grace = time.Duration(binary.LittleEndian.Uint64(body[1:]))
	if m.Grace < 0 {
		return errors.New("negative grace")
	}
	return nil
}

// maxListeners bounds what a descriptor's number can be.
const maxListeners = 1 << 16

func appendDescriptor(dst []byte, m *Message) []byte {
	return binary.LittleEndian.AppendUint32(dst, uint32(m.Number))
}

func parseDescriptor(body []byte, m *Message) error {
	if len(body) != 4 {
		return fmt.Errorf("%d bytes", len(body))
	}
	n := binary.LittleEndian.Uint32(body)
	if n != FDHandOut && n != FDHandIn && (n < FDListeners || n >= FDListeners+maxListeners) {
		return fmt.Errorf("descriptor %d", n)
	}
	m.Number = int(n)
	return nil
}
