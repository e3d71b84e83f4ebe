package visible

import "testing"

func TestOutput(t *testing.T) {
	for in, want := range map[string]string{
		"plain\r\n\tand é\n":                    "plain\r\n\tand é\n",
		"\x1b[1;31mred\x1b[m":                   "\x1b[1;31mred\x1b[m",
		"\x1b[38:5:1mred\x1b[0m\x1b[2J":         "\x1b[38:5:1mred\x1b[0m\\x1b[2J",
		"\x1b]0;title\x07\x1b[6n\x1bP$qm\x1b\\": `\x1b]0;title\x07\x1b[6n\x1bP$qm\x1b\`,
		"over\rwritten\x08\x7f":                 `over\x0dwritten\x08\x7f`,
		"\x9b2J\u009b2J\xff":                    `\x9b2J\x9b2J\xff`,
		"cut off\x1b[3":                         `cut off\x1b[3`,
		"":                                      "",
	} {
		if got := string(Output([]byte(in))); got != want {
			t.Errorf("%q becomes %q, not %q", in, got, want)
		}
	}
}
