package kubetest

import (
	"reflect"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
)

// template is what helm template does.
func template(values map[string]any) (string, error) {
	chart, err := loader.Load(folder + "chart")
	if err != nil {
		return "", err
	}
	all, err := util.ToRenderValues(chart, values, common.ReleaseOptions{Name: "shop", Namespace: "default", Revision: 1, IsInstall: true}, common.DefaultCapabilities)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(chart, all)
	text := ""
	for name, file := range files {
		if strings.HasSuffix(name, ".yaml") {
			text += "\n---\n# " + name + "\n" + file
		}
	}
	return text, err
}

// TestLint is helm lint.
func TestLint(t *testing.T) {
	for _, m := range lint.RunAll(folder+"chart", nil, "default").Messages {
		if !strings.Contains(m.Err.Error(), "icon is recommended") {
			t.Error(m)
		}
	}
}

var everything = map[string]any{
	"podMonitor":  map[string]any{"enabled": true, "labels": map[string]any{"release": "prometheus"}},
	"autoscaling": map[string]any{"enabled": true},
}

// TestChart: what the chart makes of its own values is what hostler.yaml has, names aside, and
// with each value set it is still what a cluster takes.
func TestChart(t *testing.T) {
	text, err := template(everything)
	if err != nil {
		t.Fatal(err)
	}
	all, err := decode(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	check(t, "the chart", all)
	plain := manifests(t)
	same := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s of the chart's is\n%+v, and in the manifests\n%+v", what, got, want)
		}
	}
	ours, theirs := get[appsv1.Deployment](t, all, "Deployment").Spec, get[appsv1.Deployment](t, plain, "Deployment").Spec
	same("the pod", ours.Template.Spec, theirs.Template.Spec)
	same("the strategy", ours.Strategy, theirs.Strategy)
	same("the service", get[corev1.Service](t, all, "Service").Spec.Ports, get[corev1.Service](t, plain, "Service").Spec.Ports)
	same("the budget", get[policyv1.PodDisruptionBudget](t, all, "PodDisruptionBudget").Spec.MaxUnavailable, get[policyv1.PodDisruptionBudget](t, plain, "PodDisruptionBudget").Spec.MaxUnavailable)
	same("the scaling", (*get[map[string]any](t, all, "ScaledObject"))["spec"], (*get[map[string]any](t, plain, "ScaledObject"))["spec"])
	if ours.Replicas != nil {
		t.Error("the chart sets the number of pods that KEDA is to set")
	}
}

// TestValues: each value has its place, and one that is none is refused.
func TestValues(t *testing.T) {
	list := func(all ...any) []any { return all }
	text, err := template(map[string]any{
		"image":           map[string]any{"repository": "registry.example/shop", "tag": "v7", "pullPolicy": "Always"},
		"workers":         4,
		"args":            list("--threads", "8", "--access-log", "-"),
		"app":             "project.wsgi",
		"replicas":        7,
		"gracefulTimeout": 50, "preStopSeconds": 15, "startupSeconds": 61,
		"forwardedAllowIPs": "10.0.0.0/8",
		"env":               list(map[string]any{"name": "A", "value": "b"}),
		"envFrom":           list(map[string]any{"secretRef": map[string]any{"name": "shop"}}),
		"imagePullSecrets":  list(map[string]any{"name": "pull"}),
		"volumes":           list(map[string]any{"name": "v", "configMap": map[string]any{"name": "c"}}),
		"volumeMounts":      list(map[string]any{"name": "v", "mountPath": "/v"}),
		"podAnnotations":    map[string]any{"a": "b"}, "podLabels": map[string]any{"c": "d"},
		"nodeSelector":              map[string]any{"e": "f"},
		"tolerations":               list(map[string]any{"key": "g", "operator": "Exists"}),
		"affinity":                  map[string]any{"podAntiAffinity": map[string]any{}},
		"topologySpreadConstraints": list(map[string]any{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}),
		"serviceAccountName":        "shop-account",
		"service":                   map[string]any{"type": "LoadBalancer", "port": 8080},
	})
	if err != nil {
		t.Fatal(err)
	}
	all, err := decode(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	d := get[appsv1.Deployment](t, all, "Deployment")
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	want := "--workers 4 --graceful-timeout 50 --forwarded-allow-ips 10.0.0.0/8 --threads 8 --access-log - project.wsgi"
	if got := strings.Join(c.Args, " "); got != want {
		t.Errorf("the arguments are %s, not %s", got, want)
	}
	takes(t, "the chart", append(append([]string(nil), c.Args[:len(c.Args)-1]...), "app:app"))
	if *pod.TerminationGracePeriodSeconds != 75 || c.StartupProbe.FailureThreshold != 31 || *d.Spec.Replicas != 7 || c.Image != "registry.example/shop:v7" || c.ImagePullPolicy != "Always" {
		t.Errorf("%+v", d.Spec)
	}
	for what, there := range map[string]bool{
		"env": len(c.Env) == 1, "envFrom": len(c.EnvFrom) == 1, "volumeMounts": len(c.VolumeMounts) == 2, "volumes": len(pod.Volumes) == 2,
		"imagePullSecrets": len(pod.ImagePullSecrets) == 1, "nodeSelector": pod.NodeSelector["e"] == "f", "tolerations": len(pod.Tolerations) == 1,
		"affinity": pod.Affinity != nil && pod.Affinity.PodAntiAffinity != nil, "topologySpreadConstraints": len(pod.TopologySpreadConstraints) == 1,
		"podAnnotations": d.Spec.Template.Annotations["a"] == "b", "podLabels": d.Spec.Template.Labels["c"] == "d", "serviceAccountName": pod.ServiceAccountName == "shop-account",
	} {
		if !there {
			t.Errorf("%s is not where it should be", what)
		}
	}
	s := get[corev1.Service](t, all, "Service").Spec
	if s.Type != "LoadBalancer" || s.Ports[0].Port != 8080 {
		t.Errorf("the service is %+v", s)
	}
	for _, wrong := range []map[string]any{
		{"replica": 3}, {"image": map[string]any{"name": "a"}}, {"workers": "many"}, {"preStopSeconds": 0}, {"autoscaling": map[string]any{"waiting": 0.5}}, {"app": ""},
	} {
		if _, err := template(wrong); err == nil {
			t.Errorf("it takes %v", wrong)
		}
	}
}
