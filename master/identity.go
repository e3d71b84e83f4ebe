package master

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// findIdentity returns who workers shall be, or nil if that is the master.
func findIdentity(userName, groupName string) (*syscall.Credential, error) {
	if userName == "" && groupName == "" {
		return nil, nil
	}
	who := &syscall.Credential{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}
	if userName != "" {
		u, err := findUser(userName)
		if err != nil {
			return nil, err
		}
		if who.Uid, err = number(u.Uid); err != nil {
			return nil, err
		}
		if who.Gid, err = number(u.Gid); err != nil {
			return nil, err
		}
		// A number that no user has brings no groups with it.
		if groups, err := u.GroupIds(); err == nil {
			for _, g := range groups {
				if n, err := number(g); err == nil {
					who.Groups = append(who.Groups, n)
				}
			}
		}
	}
	if groupName != "" {
		var err error
		if who.Gid, err = findGroup(groupName); err != nil {
			return nil, err
		}
	}
	if os.Geteuid() != 0 {
		if who.Uid == uint32(os.Geteuid()) && who.Gid == uint32(os.Getegid()) {
			return nil, nil
		}
		return nil, errors.New("cannot run workers as another user or group: the master is not root")
	}
	return who, nil
}

// loginEnv is what a login as the workers' user would have in its environment, where
// root's would lead them astray.
func loginEnv(userName string) (env []string) {
	if userName == "" {
		return nil
	}
	u, err := findUser(userName)
	if err != nil {
		return nil // it has been said
	}
	for _, v := range [...][2]string{{"HOME", u.HomeDir}, {"USER", u.Username}, {"LOGNAME", u.Username}} {
		if v[1] != "" {
			env = append(env, v[0]+"="+v[1])
		}
	}
	return env
}

// asWhom adds to a reason of the workers' as whom they were not permitted something:
// to whoever reads it, root above all, the file may look as if it could be read.
func (s *Settings) asWhom(reason string) string {
	if s.User == "" && s.Group == "" || !strings.Contains(strings.ToLower(reason), "permission denied") {
		return reason
	}
	return strings.TrimRight(reason, "\n") + " (as " + s.workersUser() + ")"
}

// workersUser is as whom workers run, for people.
func (s *Settings) workersUser() string {
	switch {
	case s.User == "":
		return "group " + s.Group
	case s.Group == "":
		return "user " + s.User
	}
	return "user " + s.User + ", group " + s.Group
}

// startError is asWhom for an error.
func (s *Settings) startError(err error) error {
	if err == nil || s.asWhom(err.Error()) == err.Error() {
		return err
	}
	return fmt.Errorf("%w (as %s)", err, s.workersUser())
}

func findUser(name string) (*user.User, error) {
	u, err := user.Lookup(name)
	if err == nil {
		return u, nil
	}
	if _, numErr := number(name); numErr != nil {
		return nil, fmt.Errorf("there is no user %s", name)
	}
	if u, err := user.LookupId(name); err == nil {
		return u, nil
	}
	return &user.User{Uid: name, Gid: name}, nil
}

func findGroup(name string) (uint32, error) {
	g, err := user.LookupGroup(name)
	if err == nil {
		return number(g.Gid)
	}
	n, numErr := number(name)
	if numErr != nil {
		return 0, fmt.Errorf("there is no group %s", name)
	}
	return n, nil
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not the number of a user or group", s)
	}
	return uint32(n), nil
}
