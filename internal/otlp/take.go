package otlp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"time"

	"hostler/protocol"
)

const (
	// mostBytes is what of a worker's lines is read in a second: some fifty thousand spans.
	mostBytes = 16 << 20
	// lastTime is how long what a worker has left behind may take: a process of its own may
	// have its pipe, too, and never let go of it.
	lastTime = time.Second
)

// Take takes what a worker tells of, line by line, from a pipe, until its end. It takes over
// the pipe. ended says that the worker is gone.
func (e *Exporter) Take(pipe *os.File, worker int) (ended func()) {
	e.readers.Go(func() {
		defer pipe.Close()
		e.read(pipe, worker)
	})
	return func() { _ = pipe.SetReadDeadline(time.Now().Add(lastTime)) } // it is closed, or not
}

// Lost takes a request that died with its worker, and of what; what cannot be is counted.
func (e *Exporter) Lost(s protocol.Span, worker int, cause string) {
	if s.Check() != nil {
		e.counts.invalid.Add(1)
		return
	}
	e.put(told{s, worker, cause})
}

// read takes lines, and what is none is counted.
func (e *Exporter) read(pipe io.Reader, worker int) {
	r := bufio.NewReaderSize(&paced{r: pipe}, protocol.MaxSpan)
	said := false
	invalid := func(err error) {
		e.counts.invalid.Add(1)
		if !said {
			said = true
			e.log.Error("a worker has told of a request in a way that is none; such words are ignored", "worker", worker, "error", err)
		}
	}
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			invalid(err)
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.ReadSlice('\n')
			}
			if err != nil {
				return
			}
			continue
		case err != nil:
			if len(line) > 0 {
				e.counts.invalid.Add(1) // it was killed in the middle of it
			}
			return
		}
		s, err := protocol.ParseSpan(bytes.Clone(line[:len(line)-1]))
		if err != nil {
			invalid(err)
			continue
		}
		e.put(told{Span: s, worker: worker})
	}
}

// paced reads no more than mostBytes in a second: who says more waits.
type paced struct {
	r     io.Reader
	quiet time.Time // up to when, at that pace, what has come has used up its time
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	now := time.Now()
	if p.quiet.Before(now) {
		p.quiet = now
	}
	p.quiet = p.quiet.Add(time.Duration(n) * time.Second / mostBytes)
	if ahead := p.quiet.Sub(now) - time.Second; ahead > 0 { // a second's may come at once
		time.Sleep(ahead)
	}
	return n, err
}
