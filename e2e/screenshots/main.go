// Command screenshots makes the pictures of docs/status.md: of a real server that is busy, in a
// real Chromium. make screenshots.
package main

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

const (
	addr, admin = "127.0.0.1:8391", "127.0.0.1:8392"
	traffic     = 60 * time.Second // what the curves show
	clients     = 3
)

// shop is an application that waits, works, fails at times, and has one report that takes long.
const shop = `
import json, random, time

def prices(n):
    return sorted(hash((i, n)) % 9973 for i in range(n))

def orders(connection, page=20):
    rows = query(connection, page)
    return json.dumps([dict(row, tax=row['price'] * 0.19) for row in rows])

def query(connection, page):
    time.sleep(random.expovariate(50))
    return [{'order': i, 'price': p} for i, p in enumerate(prices(100 * page))]

def basket():
    return json.dumps({str(p): p * 1.19 for p in prices(4000)})

def app(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/report':
        time.sleep(12)
    elif path.startswith('/orders'):
        orders(None)
    elif path == '/checkout':
        basket()
    else:
        prices(6000)
    bad = path == '/checkout' and random.random() < 0.1
    start_response('500 Internal Server Error' if bad else '200 OK', [('Content-Type', 'text/plain')])
    return [b'a page of the shop']
`

func main() {
	if err := run("docs"); err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

func run(docs string) error {
	binary, err := filepath.Abs("bin/hostler")
	if err != nil {
		return err
	}
	python, err := filepath.Abs("build/venv/bin/python")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "hostler-screenshots")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "shop.py"), []byte(shop), 0o600); err != nil {
		return err
	}
	socket := filepath.Join(dir, "ctl")
	server := exec.Command(binary, "-b", addr, "--admin-bind", admin, "--ctl-socket", socket, "--python", python, "--chdir", dir, "-w", "3", "--threads", "4", "--slow-request", "500ms", "shop:app")
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		return err
	}
	defer func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
	}()
	ctl := func(args ...string) ([]byte, error) {
		return exec.Command(binary, append([]string{"ctl", "--socket", socket}, args...)...).Output()
	}
	for i := 0; ; i++ {
		if r, err := http.Get("http://" + admin + "/readyz"); err == nil && r.Body.Close() == nil && r.StatusCode == 200 {
			break
		} else if i == 300 {
			return fmt.Errorf("the server is not ready: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop := make(chan struct{})
	defer close(stop)
	for range clients {
		go visit(stop)
	}
	b, end, err := browser(dir)
	if err != nil {
		return err
	}
	defer end()
	time.Sleep(traffic)
	flames, err := ctl("profile", "5")
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	file := filepath.Join(dir, "flames.svg")
	if err := os.WriteFile(file, flames, 0o600); err != nil {
		return err
	}
	if err := b.shoot("file://"+file, filepath.Join(docs, "flamegraph.png"), "light", 1200, 190); err != nil {
		return fmt.Errorf("the flame graph: %w", err)
	}
	if _, err := ctl("reload"); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	report()
	time.Sleep(15 * time.Second) // it is among the slowest by then
	for _, p := range []struct {
		name, scheme  string
		width, height int64
	}{{"status.png", "light", 1280, 900}, {"status-dark.png", "dark", 1280, 900}, {"status-phone.png", "light", 390, 844}} {
		report()
		if err := b.shoot("http://"+admin+"/status", filepath.Join(docs, p.name), p.scheme, p.width, p.height); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	report()
	top, err := ctl("top", "--once")
	if err != nil {
		return fmt.Errorf("top: %w", err)
	}
	return os.WriteFile(filepath.Join(docs, "top.svg"), drawn(string(top)), 0o644)
}

// report has a request run that takes long, from now on.
func report() {
	go func() { _, _ = http.Get("http://" + addr + "/report?year=2026") }()
	time.Sleep(time.Second)
}

// visit is a client, until stop is closed.
func visit(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rand.ExpFloat64() * float64(60*time.Millisecond))):
		}
		path := []string{"/", "/", "/", "/orders/%d", "/orders/%d", "/checkout"}[rand.IntN(6)]
		if strings.Contains(path, "%d") {
			path = fmt.Sprintf(path, 1000+rand.IntN(9000))
		}
		if r, err := http.Get("http://" + addr + path); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
	}
}

type window struct{ ctx context.Context }

func browser(dir string) (window, func(), error) {
	program, err := exec.LookPath("chromium")
	if err != nil {
		return window{}, nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.Flag("headless", "new"), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("no-proxy-server", true), chromedp.Flag("hide-scrollbars", true), chromedp.CombinedOutput(io.Discard), chromedp.UserDataDir(filepath.Join(dir, "profile")))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, end := chromedp.NewContext(allocator)
	return window{ctx}, func() { end(); stop() }, chromedp.Do(ctx)
}

// shoot has a page in a file, as it is a moment after it was opened.
func (w window) shoot(url, file, scheme string, width, height int64) error {
	ctx, end := context.WithTimeout(w.ctx, time.Minute)
	defer end()
	_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 500})
	if err != nil {
		return err
	}
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		return err
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		return err
	}
	time.Sleep(4 * time.Second)
	taken, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: "png"})
	if err != nil {
		return err
	}
	shot, err := png.Decode(bytes.NewReader(taken.Data))
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, fewColours(shot)); err != nil {
		return err
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}

// fewColours returns an image of the 256 colours that are most in it: a third of the bytes.
func fewColours(m image.Image) image.Image {
	counts := map[color.RGBA]int{}
	for y := range m.Bounds().Dy() {
		for x := range m.Bounds().Dx() {
			counts[color.RGBAModel.Convert(m.At(x, y)).(color.RGBA)]++
		}
	}
	all := make([]color.RGBA, 0, len(counts))
	for c := range counts {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b color.RGBA) int { return counts[b] - counts[a] })
	palette := color.Palette{}
	for _, c := range all[:min(256, len(all))] {
		palette = append(palette, c)
	}
	out := image.NewPaletted(m.Bounds(), palette)
	draw.Draw(out, out.Bounds(), m, m.Bounds().Min, draw.Src)
	return out
}

// drawn returns what a terminal shows as a picture.
func drawn(text string) []byte {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	widest := 0
	for _, l := range lines {
		widest = max(widest, len([]rune(l)))
	}
	const advance, height = 8.43, 19 // of 14 pixels
	var b bytes.Buffer
	w, h := int(float64(widest)*advance)+32, len(lines)*height+32
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n<rect width=\"100%%\" height=\"100%%\" rx=\"8\" fill=\"#16181d\"/>\n", w, h, w, h)
	fmt.Fprint(&b, "<g font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"14\" fill=\"#d8dae0\">\n")
	for i, l := range lines {
		if l = strings.TrimRight(l, " "); l != "" {
			fmt.Fprintf(&b, "<text x=\"16\" y=\"%d\" textLength=\"%.0f\">%s</text>\n", 30+i*height, float64(len([]rune(l)))*advance, strings.ReplaceAll(html.EscapeString(l), " ", "\u00a0"))
		}
	}
	fmt.Fprint(&b, "</g>\n</svg>\n")
	return b.Bytes()
}
