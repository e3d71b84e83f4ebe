// Package kubetest tests deploy/kubernetes and deploy/compose with what knows what they mean:
// Kubernetes' own types, Helm, the schema of KEDA's objects, Compose's loader. It is a module of
// its own, for the server needs none of that.
package kubetest

import _ "github.com/kedacore/keda/v2/version" // its module has the schema
