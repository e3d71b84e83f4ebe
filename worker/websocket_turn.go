package worker

// SocketSeat is set in what Async.Turn says of a WebSocket, beside its number.
const SocketSeat = 1 << 30

// socketNews are WebSockets that an event loop's thread is to look at.
type socketNews struct {
	all  []uint32
	seen int
}

// next returns the next with news for its application, and what these are; 0: none has any.
func (s *socketNews) next(l *Loop) (number, have uint32) {
	for {
		if s.seen == len(s.all) {
			s.all, s.seen = l.sched.takeSockets(s.all), 0
			if len(s.all) == 0 {
				return 0, 0
			}
		}
		number = s.all[s.seen]
		s.seen++
		if w := l.keeper.sockets.at(number); w != nil {
			if have = w.heed(); have != 0 {
				return number, have
			}
		}
	}
}
