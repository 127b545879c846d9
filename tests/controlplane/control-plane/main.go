// A Kubernetes control plane and kubectl in one program, so that the tests and the demo run against the real thing on a
// machine that has nothing but a Go toolchain: no container, no download of prebuilt binaries.
//
// The parts are the projects' own packages at the versions that go.mod names. This is all that the demo needs: what only
// tests or e2e use are programs of their own, so that nobody waits for them who does not need them.
package main

import (
	"os"

	"controlplane/component"
	"controlplane/parts"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	parts.Run(map[string]func() int{
		"etcd":                    runEtcd,
		"kube-apiserver":          component.Of(apiserver.NewAPIServerCommand),
		"kube-controller-manager": component.Of(controllermanager.NewControllerManagerCommand),
		"kubectl":                 runKubectl,
	})
}

func runEtcd() int {
	etcdmain.Main(os.Args)
	return 0
}

func runKubectl() int {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // prints the error and exits with its code
	}
	return 0
}
