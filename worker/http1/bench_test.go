package http1

import (
	"testing"
	"time"
)

const wrkHead = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"

const chromiumHead = "GET /contact-us?from=front%20page HTTP/1.1\r\n" +
	"Host: www.example.org\r\n" +
	"Connection: keep-alive\r\n" +
	"Cache-Control: max-age=0\r\n" +
	"sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\n" +
	"sec-ch-ua-mobile: ?0\r\n" +
	"sec-ch-ua-platform: \"Linux\"\r\n" +
	"Upgrade-Insecure-Requests: 1\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n" +
	"Sec-Fetch-Site: same-origin\r\n" +
	"Sec-Fetch-Mode: navigate\r\n" +
	"Sec-Fetch-User: ?1\r\n" +
	"Sec-Fetch-Dest: document\r\n" +
	"Referer: https://www.example.org/\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n" +
	"Cookie: sessionid=0123456789abcdef0123456789abcdef; csrftoken=abcdefghijklmnopqrstuvwxyz012345\r\n" +
	"\r\n"

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ name, head string }{{"wrk", wrkHead}, {"chromium", chromiumHead}} {
		b.Run(c.name, func(b *testing.B) {
			buf, lim, r := []byte(c.head), DefaultLimits(), roomy()
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if ok, reason := Parse(buf, 0, &lim, &r); !ok {
					b.Fatal(reason)
				}
			}
		})
	}
}

func BenchmarkParseRespond(b *testing.B) {
	buf, lim, r := []byte(chromiumHead), DefaultLimits(), roomy()
	out := make([]byte, 0, 1024)
	date := FormatDate(nil, time.Now())
	status := []byte("200 OK")
	fields := records("Content-Type", "text/html; charset=utf-8", "X-Frame-Options", "DENY", "Vary", "Cookie")
	var h Head
	b.ReportAllocs()
	for b.Loop() {
		if ok, reason := Parse(buf, 0, &lim, &r); !ok {
			b.Fatal(reason)
		}
		if e, _ := CheckHead(status, fields, &h); e != HeadOK {
			b.Fatal(e)
		}
		out = AppendHead(out[:0], status, fields, &h, HeadOptions{AddLength: 13}, date)
	}
}

func BenchmarkChunked(b *testing.B) {
	src := AppendChunkHeader(nil, 4096)
	src = append(src, make([]byte, 4096)...)
	src = append(src, "\r\n"+LastChunk...)
	dst := make([]byte, len(src))
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		var d Chunked
		if _, _, done, reason := d.Decode(dst, src); !done {
			b.Fatal(reason)
		}
	}
}

func BenchmarkUnescape(b *testing.B) {
	src := []byte("/caf%C3%A9/men%C3%BC/a-long-name-without-any-escapes.html")
	dst := make([]byte, len(src))
	b.ReportAllocs()
	for b.Loop() {
		Unescape(dst, src)
	}
}
