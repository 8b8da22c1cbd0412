# Options of services.tsnsrv, with the names, types and defaults of arsfeld/tsnsrv's module, so that a configuration written
# for it is taken as it is. Beyond it: supervisor.*, defaults.settings, and per service settings, upstreamTCPAddr, funnelOnly,
# recommendedProxyHeaders, group and weight.
{ lib, cfg, pkgs, packageFor }:
let
  keys = import ./settings.nix { inherit lib; };
  configFile = import ./configFile.nix { inherit lib; };
  inherit (lib) types mkOption literalExpression;
  nullOrStr = types.nullOr types.str;
  nullOrPath = types.nullOr types.path;

  flag = description: { inherit description; type = types.bool; default = false; };
  optional = type: description: { inherit type description; default = null; };

  # What `defaults` has and every service inherits: declared once, made an option twice.
  inherited = {
    package = optional (types.nullOr types.package) ''
      Read by arsfeld/tsnsrv's module. Under the supervisor every service runs in services.tsnsrv.supervisor.package.
    '';
    authKeyPath = optional nullOrPath ''
      File with a Tailscale auth key or OAuth client secret. systemd reads it when the unit starts, and hands it over as a credential.
      Without one, "tsnsrv-sup status" shows a URL where a person logs the node in.
    '';
    acmeHost = optional nullOrStr "Certificate of security.acme.certs to serve; sets certificateFile and certificateKey.";
    certificateFile = optional nullOrPath "Certificate to serve instead of one that Tailscale obtains.";
    certificateKey = optional nullOrPath "Private key of certificateFile.";
    ephemeral = flag "Let the control server forget the node when it disconnects.";
    listenAddr = { description = "[host]:port to listen on, on the tailnet."; type = types.str; default = ":443"; };
    loginServerUrl = optional nullOrStr "Control server; Tailscale's own when null.";
    supplementalGroups = {
      description = "Groups that the unit runs with besides its own.";
      type = types.listOf types.str;
      default = [ ];
    };
    tags = {
      description = "Tags of keys minted from an OAuth client secret.";
      type = types.listOf (types.strMatching "^tag:.*");
      default = [ ];
      example = [ "tag:service" ];
    };
    timeout = optional nullOrStr "How long the node may take to connect to the tailnet.";
    tsnetVerbose = flag "Log the node's own messages too.";
    upstreamAllowInsecureCiphers = flag "Accept upstreams that offer only cipher suites without forward secrecy.";
    authURL = optional nullOrStr "Forward-auth service that is asked about every request.";
    authPath = { description = "Path on the forward-auth service."; type = types.str; default = "/api/authz/forward-auth"; };
    authTimeout = { description = "How long the forward-auth service may take."; type = nullOrStr; default = "5s"; };
    authCopyHeaders = {
      description = "Headers copied from the forward-auth answer to the upstream request.";
      type = types.attrsOf types.str;
      default = { };
      example = { Remote-User = ""; };
    };
    authInsecureHTTPS = flag "Accept any certificate of the forward-auth service.";
    authBypassForTailnet = flag "Do not ask the forward-auth service about users known to the tailnet.";
    extraArgs = {
      description = "Read by the modules of tsnsrv. Must be empty under the supervisor: a service has no command line there.";
      type = types.listOf types.str;
      default = [ ];
    };
  };

  inherit (cfg) defaults;

  fromDefaults = name: option:
    mkOption (option // {
      default = defaults.${name};
      defaultText = literalExpression "config.services.tsnsrv.defaults.${name}";
    });

  urlPart = {
    protocol = { description = "Scheme of the upstream."; type = types.str; default = "http"; };
    host = { description = "Host of the upstream."; type = types.str; };
    port = { description = "Port of the upstream."; type = types.port; };
  };

  urlPartFromDefaults = name: option:
    mkOption (option // {
      default = defaults.urlParts.${name};
      defaultText = literalExpression "config.services.tsnsrv.defaults.urlParts.${name}";
    });

  service = types.submodule ({ config, ... }: {
    options = lib.mapAttrs fromDefaults inherited // lib.mapAttrs (_: mkOption) {
      funnel = flag "Serve to the public internet through Tailscale Funnel.";
      funnelOnly = flag "Serve through Funnel only, not on the tailnet.";
      insecureHTTPS = flag "Accept any certificate of an https upstream.";
      plaintext = flag "Serve http without TLS.";
      suppressWhois = flag "Send no X-Tailscale-* identity headers.";
      suppressTailnetDialer = flag "Reach the upstream through the host's network only.";
      recommendedProxyHeaders = {
        description = "Keep Host; set X-Scheme, X-Real-Ip, X-Forwarded-Server and X-Forwarded-Port.";
        type = types.bool;
        # arsfeld/tsnsrv's module has no such option, and its separate processes run with the flag's default.
        default = true;
      };
      upstreamUnixAddr = optional nullOrPath "Unix socket to dial instead of the upstream's host.";
      upstreamTCPAddr = optional nullOrStr "host:port to dial instead of the upstream's host.";
      prefixes = {
        description = "URL path prefixes to allow; all when empty.";
        type = types.listOf (types.strMatching "^(/|tailnet:/|funnel:/).*");
        default = [ ];
        example = [ "tailnet:/" "funnel:/.well-known/" ];
      };
      stripPrefix = { description = "Strip the matched prefix."; type = types.bool; default = true; };
      whoisTimeout = optional nullOrStr "How long the identity lookup may take.";
      readHeaderTimeout = optional nullOrStr "How long a client may take to send its header; null: 1s with funnel, else no limit.";
      upstreamHeaders = {
        description = "Headers set on every request to the upstream.";
        type = types.attrsOf types.str;
        default = { };
      };
      group = { description = "Services of one group share a shard when they fit."; type = types.str; default = ""; };
      weight = {
        description = "Expected load beside other services; shards are made even by it.";
        type = types.numbers.positive;
        default = 1;
      };
      urlParts = optional (types.nullOr (types.submodule { options = lib.mapAttrs urlPartFromDefaults urlPart; })) ''
        Parts that toURL is made of; those of defaults.urlParts when null.
      '';
      toURL = {
        description = "URL of the upstream.";
        type = types.str;
        default =
          let parts = if config.urlParts == null then defaults.urlParts else config.urlParts;
          in "${parts.protocol}://${parts.host}:${toString parts.port}";
        defaultText = literalExpression ''"''${urlParts.protocol}://''${urlParts.host}:''${toString urlParts.port}"'';
      };
      prometheusAddr = optional nullOrStr "Read by arsfeld/tsnsrv's module. Under the supervisor there is one endpoint for all.";
      settings = {
        description = ''
          Keys of this service in the configuration file, by their names there. They win over all other options. The secrets among them
          are names of files that the unit can read.
        '';
        type = keys.submoduleOf keys.service;
        default = { };
        example = { allow = [ "*@example.org" "/admin tag:admin" ]; redirectHTTP = true; };
      };
    };
  });
in
{
  enable = mkOption (flag "Serve services on a tailnet, each under a name of its own.");

  supervisor = {
    enable = mkOption (flag "Run all services in shards of worker processes under one supervisor, the unit tsnsrv-sup.");
    package = lib.mkPackageOption { tsnsrv-sup = pkgs.tsnsrv-sup or (packageFor pkgs); } "tsnsrv-sup" { };
    settings = mkOption {
      description = "Keys of `supervisor:` in the configuration file: thresholds, number and size of shards, timeouts.";
      type = keys.submoduleOf (removeAttrs keys.supervisor [ "stateDir" "runDir" ]);
      default = { };
      example = { shardSize = 10; hotPercent = 60; coldPercent = 20; minShards = 2; maxShards = 8; moveCooldown = "30m"; };
    };
    checkConfig = mkOption {
      description = "Have the package check the configuration file when it is built, so that a host with a bad one is not built.";
      type = types.bool;
      default = true;
    };
  };

  prometheusAddr = mkOption {
    description = "host:port of the metrics; null for none. On loopback unless told otherwise.";
    type = nullOrStr;
    default = "127.0.0.1:9099";
  };

  separateProcesses = mkOption {
    description = "Read by arsfeld/tsnsrv's module. Under the supervisor, shards take the place of both of its modes.";
    type = types.bool;
    default = true;
  };

  defaults = lib.mapAttrs (_: mkOption) inherited // {
    settings = mkOption {
      description = "Keys of all services in the configuration file, of those that have no option of their own.";
      type = keys.submoduleOf (removeAttrs keys.service configFile.own);
      default = { };
      example = { accessLog = true; idleTimeout = "1m"; };
    };
    urlParts = mkOption {
      description = "What services without toURL and urlParts are made of.";
      type = types.submodule { options = lib.mapAttrs (_: mkOption) urlPart; };
    };
  };

  services = mkOption {
    description = "Services by name.";
    type = types.attrsOf service;
    default = { };
  };
}
