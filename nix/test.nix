# A NixOS machine with the module, and a tailnet of its own on loopback: runNixOSTest (import ./test.nix { module = ...; }).
# A service comes by a reload, a restart keeps the workers, a missing key file is the trouble of its services, a stop leaves nothing.
{ module }:
{
  name = "tsnsrv-sup";

  nodes.machine = { config, lib, pkgs, ... }: {
    imports = [ module ];

    # Stands for what is on the internet and in a rack: the control server, sample services, and a gateway into the tailnet.
    systemd.services.lab = {
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {
        ExecStart = "${config.services.tsnsrv.supervisor.package.lab}/bin/tsnsrv-lab --control-addr 127.0.0.1:8001 --gateway-addr 127.0.0.1:8002 --auth-key tskey-lab --state-dir /var/lib/lab";
        StateDirectory = "lab";
      };
    };
    services.nginx = {
      enable = true;
      virtualHosts.localhost = { listen = [ { addr = "127.0.0.1"; port = 8003; } ]; locations."/".return = "200 'it serves'"; };
    };

    environment.etc."authkey".text = "tskey-lab";
    services.tsnsrv = {
      enable = true;
      supervisor.enable = true;
      defaults = {
        authKeyPath = "/etc/authkey";
        loginServerUrl = "http://127.0.0.1:8001";
        listenAddr = ":80";
        urlParts = { host = "127.0.0.1"; port = 8003; };
      };
      services = {
        web.plaintext = true;
        keyless = { plaintext = true; authKeyPath = "/run/secrets/not-there"; };
      };
    };

    specialisation.more.configuration.services.tsnsrv.services.wiki.plaintext = true;
  };

  testScript = ''
    def serves(name):
        machine.wait_until_succeeds(f"curl --fail --header 'Host: {name}.localhost' http://127.0.0.1:8002/ | grep 'it serves'")

    def pids(of):
        return machine.succeed(f"pgrep --full {of} | sort").split()

    machine.wait_for_unit("tsnsrv-sup.service")
    serves("web")
    assert "not-there" in machine.succeed("cat /etc/tsnsrv-sup/config.yaml; systemctl cat tsnsrv-sup")

    with subtest("a service more is a reload"):
        supervisor, workers = pids("'tsnsrv-sup start'"), pids("bin/tsnsrv-worker")
        machine.succeed("/run/current-system/specialisation/more/bin/switch-to-configuration test")
        serves("wiki")
        serves("web")
        assert supervisor == pids("'tsnsrv-sup start'")
        assert workers == pids("bin/tsnsrv-worker")

    with subtest("a restart keeps the workers"):
        machine.succeed("systemctl restart tsnsrv-sup")
        serves("wiki")
        assert supervisor != pids("'tsnsrv-sup start'")
        assert workers == pids("bin/tsnsrv-worker")

    with subtest("a stop ends all"):
        machine.succeed("systemctl stop tsnsrv-sup")
        machine.fail("pgrep --full bin/tsnsrv-worker")
  '';
}
