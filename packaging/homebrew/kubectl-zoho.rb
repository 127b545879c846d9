# Installs kubectl-zoho: brew install --formula ./kubectl-zoho.rb
class KubectlZoho < Formula
  desc "Log in to Zoho and manage the access tokens that zoho-operator keeps"
  homepage "@URL@"
  version "@NUMBER@"
  license "Apache-2.0"

  on_macos do
    on_arm do
      url "@DOWNLOADS@/kubectl-zoho_@VERSION@_darwin_arm64.tar.gz"
      sha256 "@SHA256_darwin_arm64@"
    end
  end

  on_macos do
    on_intel do
      url "@DOWNLOADS@/kubectl-zoho_@VERSION@_darwin_amd64.tar.gz"
      sha256 "@SHA256_darwin_amd64@"
    end
  end

  on_linux do
    on_arm do
      url "@DOWNLOADS@/kubectl-zoho_@VERSION@_linux_arm64.tar.gz"
      sha256 "@SHA256_linux_arm64@"
    end
  end

  on_linux do
    on_intel do
      url "@DOWNLOADS@/kubectl-zoho_@VERSION@_linux_amd64.tar.gz"
      sha256 "@SHA256_linux_amd64@"
    end
  end

  def install
    bin.install "kubectl-zoho"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/kubectl-zoho --version")
  end
end
