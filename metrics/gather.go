package metrics

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Gatherer returns what gathers all that scrape, as made by Handler, answers with: the
// application's metrics are text until then.
func Gatherer(scrape http.Handler) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil)
		if err != nil {
			return nil, err
		}
		answer := &page{header: make(http.Header)}
		scrape.ServeHTTP(answer, r)
		if answer.status != http.StatusOK {
			return nil, fmt.Errorf("cannot gather the metrics: %d", answer.status)
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(&answer.body)
		if err != nil {
			return nil, fmt.Errorf("cannot read the metrics: %w", err)
		}
		names := slices.Sorted(maps.Keys(families))
		all := make([]*dto.MetricFamily, len(names))
		for i, name := range names {
			all[i] = families[name]
		}
		return all, nil
	})
}

// page is an answer that is kept.
type page struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (p *page) Header() http.Header { return p.header }

func (p *page) WriteHeader(status int) {
	if p.status == 0 {
		p.status = status
	}
}

func (p *page) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	return p.body.Write(b)
}
