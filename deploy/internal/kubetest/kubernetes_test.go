package kubetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/santhosh-tekuri/jsonschema/v6"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"sigs.k8s.io/yaml"
)

const folder = "../../kubernetes/"

// objects are what a cluster is given: by kind.
type objects map[string]any

// get returns the one object of a type.
func get[T any](t *testing.T, all objects, kind string) *T {
	t.Helper()
	o, ok := all[kind].(*T)
	if !ok {
		t.Fatalf("there is no %s among %v", kind, reflect.ValueOf(all).MapKeys())
	}
	return o
}

// known are the types that a cluster knows with the Prometheus operator.
func known() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, policyv1.AddToScheme, monitoringv1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return scheme
}

// decode reads documents of YAML strictly: as their API's types, none of whose fields may be
// unknown or there twice.
func decode(text string) (objects, error) {
	scheme := known()
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	all := make(objects)
	var wrong []error
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		var head struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, document)
		}
		if head.APIVersion == "" && head.Kind == "" { // comments alone
			continue
		}
		if all[head.Kind] != nil {
			wrong = append(wrong, fmt.Errorf("a second %s", head.Kind))
		}
		var err error
		if strings.HasPrefix(head.APIVersion, "keda.sh/") {
			all[head.Kind], err = custom(head.Kind, []byte(document))
		} else {
			all[head.Kind], _, err = strict.Decode([]byte(document), nil, nil)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", head.Kind, err))
		}
	}
	return all, errors.Join(wrong...)
}

// custom reads an object of KEDA's, and checks it against the schema that its module brings along.
func custom(kind string, document []byte) (*map[string]any, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/kedacore/keda/v2").Output()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "config/crd/bases/keda.sh_"+strings.ToLower(kind)+"s.yaml"))
	if err != nil {
		return nil, err
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema map[string]any }
			}
		}
	}
	if err := yaml.Unmarshal(b, &crd); err != nil {
		return nil, err
	}
	schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	closed(schema)
	c := jsonschema.NewCompiler()
	if err := c.AddResource("crd.json", schema); err != nil {
		return nil, err
	}
	compiled, err := c.Compile("crd.json")
	if err != nil {
		return nil, err
	}
	var object map[string]any
	if err := yaml.UnmarshalStrict(document, &object); err != nil {
		return nil, err
	}
	return &object, compiled.Validate(object)
}

// closed has a schema take only what it names, as an API server that is asked to be strict does.
func closed(schema map[string]any) {
	if p, ok := schema["properties"].(map[string]any); ok {
		if schema["x-kubernetes-preserve-unknown-fields"] != true && len(p) > 0 {
			schema["additionalProperties"] = false
		}
		for name, of := range p {
			// Its schema says "object" and no more.
			if name == "metadata" {
				continue
			}
			closed(of.(map[string]any))
		}
	}
	for _, of := range []string{"items", "additionalProperties"} {
		if below, ok := schema[of].(map[string]any); ok {
			closed(below)
		}
	}
}

func file(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// manifests are hostler.yaml and autoscaling.yaml.
func manifests(t *testing.T) objects {
	t.Helper()
	all, err := decode(file(t, folder+"hostler.yaml") + "\n---\n" + file(t, folder+"autoscaling.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestManifests(t *testing.T) {
	check(t, "hostler.yaml", manifests(t))
}

// What these tests would let pass is of no use.
func TestStrict(t *testing.T) {
	for _, wrong := range []string{
		"apiVersion: v1\nkind: Service\nspec:\n  selectors: {app: shop}\n",
		"apiVersion: v1\nkind: Service\nspec:\n  type: ClusterIP\n  type: ClusterIP\n",
		"apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {containers: [{name: app, livenesProbe: {}}]}}}\n",
		"apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: many}\n",
		"apiVersion: apps/v1beta1\nkind: Deployment\n",
		"apiVersion: monitoring.coreos.com/v1\nkind: PodMonitor\nspec: {podMetricsEndpoints: [{ports: admin}]}\n",
		"apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nspec: {scaleTargetRef: {name: a}, triggers: [{type: cpu, metadata: {}, metric: a}]}\n",
		"apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nspec: {triggers: []}\n",
		"apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nspec: {scaleTargetRef: {name: a}, triggers: [], maxReplicas: 3}\n",
	} {
		if _, err := decode(wrong); err == nil {
			t.Errorf("it is taken:\n%s", wrong)
		}
	}
}

// check wants of a pod what it is for: that no request is lost, and what it may not do.
func check(t *testing.T, name string, all objects) {
	t.Helper()
	d := get[appsv1.Deployment](t, all, "Deployment")
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	image := file(t, "../../container/app.Dockerfile")
	for _, port := range c.Ports {
		if !strings.Contains(image, fmt.Sprintf(`"0.0.0.0:%d"`, port.ContainerPort)) {
			t.Errorf("%s: the image does not serve port %d", name, port.ContainerPort)
		}
	}
	for probe, p := range map[string]*corev1.Probe{"/readyz startup": c.StartupProbe, "/readyz readiness": c.ReadinessProbe, "/healthz liveness": c.LivenessProbe} {
		path, _, _ := strings.Cut(probe, " ")
		if p == nil || p.HTTPGet == nil || p.HTTPGet.Path != path || p.HTTPGet.Port.String() != "admin" {
			t.Errorf("%s: the probe %s is %v", name, probe, p)
		}
	}
	// A pod has the time for what its end takes.
	var grace int64
	for i, arg := range c.Args {
		if arg == "--graceful-timeout" {
			_, _ = fmt.Sscan(c.Args[i+1], &grace)
		}
	}
	if least := c.Lifecycle.PreStop.Sleep.Seconds + grace; grace == 0 || *pod.TerminationGracePeriodSeconds <= least {
		t.Errorf("%s: a pod is killed after %d s, and its end may take %d", name, *pod.TerminationGracePeriodSeconds, least)
	}
	if d.Spec.Strategy.RollingUpdate.MaxUnavailable.String() != "0" {
		t.Errorf("%s: an update takes pods away before there are new ones", name)
	}
	// "Restricted", as of the Pod Security Standards, and a file system that nobody writes to.
	s, of := c.SecurityContext, pod.SecurityContext
	if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" || len(s.Capabilities.Add) > 0 ||
		!*of.RunAsNonRoot || *of.RunAsUser == 0 || of.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *pod.AutomountServiceAccountToken {
		t.Errorf("%s: the pod may do more than it should: %+v %+v", name, s, of)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("%s: no resources are asked for", name)
	}
	// All selectors mean these pods.
	labels := d.Spec.Template.Labels
	for kind, selector := range map[string]map[string]string{
		"Service":             get[corev1.Service](t, all, "Service").Spec.Selector,
		"Deployment":          d.Spec.Selector.MatchLabels,
		"PodDisruptionBudget": get[policyv1.PodDisruptionBudget](t, all, "PodDisruptionBudget").Spec.Selector.MatchLabels,
		"PodMonitor":          get[monitoringv1.PodMonitor](t, all, "PodMonitor").Spec.Selector.MatchLabels,
	} {
		if len(selector) == 0 {
			t.Errorf("%s: %s selects everything", name, kind)
		}
		for k, v := range selector {
			if labels[k] != v {
				t.Errorf("%s: %s selects %s=%s", name, kind, k, v)
			}
		}
	}
	if port := get[corev1.Service](t, all, "Service").Spec.Ports[0].TargetPort.String(); port != "http" {
		t.Errorf("%s: the service leads to %s", name, port)
	}
	if port := get[monitoringv1.PodMonitor](t, all, "PodMonitor").Spec.PodMetricsEndpoints[0].Port; port == nil || *port != "admin" {
		t.Errorf("%s: the metrics are at %v", name, port)
	}
	scaled := *get[map[string]any](t, all, "ScaledObject")
	if target := scaled["spec"].(map[string]any)["scaleTargetRef"].(map[string]any)["name"]; target != d.Name {
		t.Errorf("%s: %v is scaled", name, target)
	}
	takes(t, name, c.Args)
}

// takes has the real hostler look at the arguments that a container has, behind the image's.
func takes(t *testing.T, name string, args []string) {
	t.Helper()
	binary, err := filepath.Abs("../../../bin/hostler")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.py"), []byte("def app(environ, start_response): pass\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var entry []string
	for line := range strings.Lines(file(t, "../../container/app.Dockerfile")) {
		if rest, ok := strings.CutPrefix(line, "ENTRYPOINT "); ok {
			if err := yaml.Unmarshal([]byte(rest), &entry); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(entry) < 2 {
		t.Fatal("the image has no entry point")
	}
	cmd := exec.Command(binary, append(append([]string{"--check"}, entry[1:]...), args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: hostler does not take %q: %v\n%s", name, args, err, out)
	}
}
