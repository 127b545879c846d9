// A Kubernetes control plane in one program, so that the tests and the demo run against the real thing on a
// machine that has nothing but a Go toolchain: no container, no download of prebuilt binaries.
//
// The parts are the projects' own packages at the versions that go.mod names. The other programs stand beside this one, so
// that nobody waits for those that are not needed.
package main

import (
	"os"

	"controlplane/component"
	"controlplane/parts"

	"go.etcd.io/etcd/server/v3/etcdmain"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	parts.Run(map[string]func() int{
		"etcd":                    runEtcd,
		"kube-apiserver":          component.Of(apiserver.NewAPIServerCommand),
		"kube-controller-manager": component.Of(controllermanager.NewControllerManagerCommand),
	})
}

func runEtcd() int {
	etcdmain.Main(os.Args)
	return 0
}
