package master

import (
	"crypto/sha256"
	"errors"
	"strings"

	"hostler/protocol"
)

// --reload: the code is watched, and what is wrong with it is shown. All of it is
// for development.

// codeEvent says that files of the application have changed.
type codeEvent struct{ files []string }

// codeChanged reloads.
func (s *supervisor) codeChanged(files []string) {
	if !s.set.Development || s.phase == phaseStopping {
		return
	}
	s.log.Info("the code has changed", "file", files[0], "others", len(files)-1)
	s.touched = files[0]
	s.reload(nil)
}

// reported takes the files that w has imported. What has changed since it was
// started is news to it.
func (s *supervisor) reported(w *worker, text string) {
	if files := strings.FieldsFunc(text, func(r rune) bool { return r == 0 }); len(files) > 0 && w.gen.set.Development {
		set, since := w.gen.set, w.started
		s.files.do("watching the code", func() { s.host.WatchCode(set, files, since) })
	}
}

func (s *supervisor) codeBroken(set *Settings, yes bool) {
	s.files.do("watching the code", func() { s.host.CodeBroken(set, yes) })
}

// broken makes the workers of the current generation show err instead of what they
// would answer. Those that replace them cannot load the code, and show it, too.
func (s *supervisor) broken(err error) {
	if !s.current.set.Development {
		return
	}
	s.codeBroken(s.current.set, true)
	s.current.page = pageText(err)
	for _, w := range s.workers {
		if w.gen == s.current && w.state == stateServing {
			s.showPage(w)
		}
	}
}

// showPage makes w show what is wrong with the code, if something is.
func (s *supervisor) showPage(w *worker) {
	if w.gen.page != "" {
		s.send(w, protocol.Message{Kind: protocol.KindPage, Text: w.gen.page})
	}
}

// standIn is called when the first generation could not load the application
// because of err: workers that show why take its place, and wait for the code to be
// mended. It returns false if that is not what should be done.
func (s *supervisor) standIn(err error) bool {
	failed := s.next
	var boot *BootError
	if failed == nil || !failed.set.Development || failed.page != "" || !errors.As(err, &boot) {
		return false
	}
	s.log.Error("the application does not load; every request is answered with the reason until it does", "error", err)
	s.starter.Retire(failed.number)
	for _, w := range s.workers {
		if w.gen == failed {
			s.drain(w, protocol.DrainReplaced, failed.set.GracefulTimeout, causeReload)
		}
	}
	g := *failed
	s.numbers++
	g.number, g.page, g.said = s.numbers, pageText(err), make(map[[sha256.Size]byte]bool)
	s.next = &g
	s.codeBroken(g.set, true)
	return true
}

// pageText is what people are shown of err: the traceback's end says most.
func pageText(err error) string {
	text := err.Error()
	var boot *BootError
	if errors.As(err, &boot) && strings.TrimSpace(boot.Traceback) != "" {
		text = strings.TrimRight(boot.Traceback, "\n")
	}
	const most = protocol.MaxPage - 16
	if len(text) > most {
		text = "…" + strings.ToValidUTF8(text[len(text)-most:], "")
	}
	return text
}
