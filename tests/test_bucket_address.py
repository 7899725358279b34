"""What the worker understands of a bucket's address: real services, each as its own documentation says."""

from __future__ import annotations

import contextlib
import time
from urllib.parse import urlsplit

import pytest

from worker.bucket.address import Addressing, BucketAddress, parse_endpoint
from worker.bucket.bucket import Bucket, configured_bucket
from worker.errors import SettingsError
from worker.settings import load_settings

# The address, ">", the bucket's URL, its name, the region, where URLs name it, and the folder of the files. In the
# bucket's URL, "=" is the address without the folder. A name is set where one stands before the address.
SERVICES = """
AWS S3
  my-bucket.s3.eu-west-1.amazonaws.com > = my-bucket eu-west-1 virtual
  my-bucket.s3.eu-west-1.amazonaws.com/renders > = my-bucket eu-west-1 virtual renders
  my-bucket: my-bucket.s3.eu-west-1.amazonaws.com > = my-bucket eu-west-1 virtual
  my.dotted.bkt.s3.us-east-2.amazonaws.com/ > s3.us-east-2.amazonaws.com/my.dotted.bkt my.dotted.bkt us-east-2 path
  old.s3-eu-west-1.amazonaws.com > = old eu-west-1 virtual
  plain.s3.amazonaws.com > = plain us-east-1 virtual
  s3.eu-central-1.amazonaws.com/in-path > = in-path eu-central-1 path
  s3.eu-central-1.amazonaws.com/in-path/a/b/ > = in-path eu-central-1 path a/b
  named: s3.eu-central-1.amazonaws.com > =/named named eu-central-1 path
  bkt.s3.dualstack.us-west-2.amazonaws.com > = bkt us-west-2 virtual
  named: s3.dualstack.ap-south-1.amazonaws.com > =/named named ap-south-1 path
  bkt.s3-fips.us-gov-west-1.amazonaws.com > = bkt us-gov-west-1 virtual
  bkt.s3-fips.dualstack.us-east-1.amazonaws.com > = bkt us-east-1 virtual
  bkt.s3.us-gov-east-1.amazonaws.com > = bkt us-gov-east-1 virtual
  bkt.s3.cn-north-1.amazonaws.com.cn > = bkt cn-north-1 virtual
  named: s3.cn-northwest-1.amazonaws.com.cn > =/named named cn-northwest-1 path
  bkt.s3-accelerate.amazonaws.com > = bkt us-east-1 virtual
  bkt.s3-accelerate.dualstack.amazonaws.com > = bkt us-east-1 virtual
  named: s3-accelerate.amazonaws.com > named.= named us-east-1 virtual
  point-123456789012.s3-accesspoint.us-west-2.amazonaws.com > = point-123456789012 us-west-2 virtual
  bkt.bucket.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com > = bkt us-east-1 virtual
Google Cloud Storage
  bkt.storage.googleapis.com > = bkt auto virtual
  storage.googleapis.com/bkt > = bkt auto path
Cloudflare R2
  bkt.0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com > = bkt auto virtual
  bkt.abc123.eu.r2.cloudflarestorage.com/out > = bkt auto virtual out
  abc123.r2.cloudflarestorage.com/r2-bucket > = r2-bucket auto path
  r2-bucket: abc123.r2.cloudflarestorage.com/r2-bucket > = r2-bucket auto path
  named: abc123.r2.cloudflarestorage.com > =/named named auto path
  named: abc123.eu.r2.cloudflarestorage.com > =/named named auto path
  abc123.fedramp.r2.cloudflarestorage.com/bkt > = bkt auto path
  abc123.us.r2.cloudflarestorage.com/bkt > = bkt auto path
Backblaze B2
  b.s3.us-west-004.backblazeb2.com > s3.us-west-004.backblazeb2.com/b b us-west-004 path
  bkt.s3.eu-central-003.backblazeb2.com > = bkt eu-central-003 virtual
  named: s3.us-west-004.backblazeb2.com > =/named named us-west-004 path
Wasabi
  bkt: s3.wasabisys.com > =/bkt bkt us-east-1 path
  bkt.s3.wasabisys.com > = bkt us-east-1 virtual
  bkt.s3.ap-northeast-1.wasabisys.com > = bkt ap-northeast-1 virtual
  bkt: s3.nl-1.wasabisys.com > =/bkt bkt eu-central-1 path
DigitalOcean Spaces
  space.fra1.digitaloceanspaces.com > = space fra1 virtual
  named: fra1.digitaloceanspaces.com > =/named named fra1 path
RunPod network volume
  s3api-eur-is-1.runpod.io/agv6w2qcg7 > = agv6w2qcg7 EUR-IS-1 path
  agv6w2qcg7: s3api-us-ks-2.runpod.io/ > =/agv6w2qcg7 agv6w2qcg7 US-KS-2 path
Scaleway
  bkt.s3.fr-par.scw.cloud > = bkt fr-par virtual
  bkt: s3.nl-ams.scw.cloud > =/bkt bkt nl-ams path
OVHcloud
  bkt.s3.gra.io.cloud.ovh.net > = bkt gra virtual
  bkt: s3.eu-west-par.io.cloud.ovh.net > =/bkt bkt eu-west-par path
  bkt: s3.us-east-va.io.cloud.ovh.us > =/bkt bkt us-east-va path
Hetzner
  bkt.fsn1.your-objectstorage.com > = bkt fsn1 virtual
  nbg1.your-objectstorage.com/bkt > = bkt nbg1 path
Linode
  bkt.us-east-1.linodeobjects.com > = bkt us-east-1 virtual
  bkt: nl-ams-1.linodeobjects.com > =/bkt bkt nl-ams-1 path
Vultr
  bkt.ewr1.vultrobjects.com > = bkt ewr1 virtual
  sgp1.vultrobjects.com/bkt > = bkt sgp1 path
Tigris
  bkt.t3.storage.dev > = bkt auto virtual
  bkt: fly.storage.tigris.dev > bkt.= bkt auto virtual
Alibaba Cloud OSS
  bkt.oss-cn-hangzhou.aliyuncs.com > = bkt cn-hangzhou virtual
  bkt: s3.oss-cn-hongkong.aliyuncs.com > bkt.= bkt cn-hongkong virtual
  bkt: s3.oss-cn-hongkong-internal.aliyuncs.com > bkt.= bkt cn-hongkong virtual
  bkt.cn-hangzhou.oss.aliyuncs.com > = bkt cn-hangzhou virtual
Tencent COS
  pics-1250000000.cos.ap-guangzhou.myqcloud.com > = pics-1250000000 ap-guangzhou virtual
  pics-1250000000: cos.na-siliconvalley.myqcloud.com > pics-1250000000.= pics-1250000000 na-siliconvalley virtual
Huawei OBS
  bkt.obs.cn-east-3.myhuaweicloud.com > = bkt cn-east-3 virtual
  bkt.obs.eu-west-101.myhuaweicloud.eu > = bkt eu-west-101 virtual
Baidu BOS
  bkt.s3.bj.bcebos.com > = bkt bj virtual
IBM Cloud
  bkt.s3.us-south.cloud-object-storage.appdomain.cloud > = bkt us-south virtual
  bkt: s3.private.eu-de.cloud-object-storage.appdomain.cloud > =/bkt bkt eu-de path
Oracle Cloud
  bkt: ns.compat.objectstorage.eu-frankfurt-1.oraclecloud.com > =/bkt bkt eu-frankfurt-1 path
  ns.compat.objectstorage.us-phoenix-1.oci.customer-oci.com/bkt > = bkt us-phoenix-1 path
  bkt.vhcompat.objectstorage.us-phoenix-1.oci.customer-oci.com > = bkt us-phoenix-1 virtual
Supabase
  bkt: abcd.supabase.co/storage/v1/s3 > =/bkt bkt us-east-1 path
  bkt: abcd.storage.supabase.co/storage/v1/s3/ > =/bkt bkt us-east-1 path
  abcd.storage.supabase.co/storage/v1/s3/bkt/out > = bkt us-east-1 path out
CoreWeave
  bkt.cwobject.com > = bkt us-east-1 virtual
  bkt: cwobject.com > bkt.= bkt us-east-1 virtual
Nebius
  bkt: storage.eu-north1.nebius.cloud:443 > =/bkt bkt eu-north1 path
Filebase
  bkt: s3.filebase.com > =/bkt bkt us-east-1 path
  bkt.s3.filebase.com > = bkt us-east-1 virtual
Storj
  bkt: gateway.storjshare.io > =/bkt bkt us-east-1 path
IDrive e2
  bkt: s3.us-west-1.idrivee2.com > =/bkt bkt us-west-1 path
  bkt: s3.va-1.idrivee2.com > =/bkt bkt us-east-1 path
Exoscale
  bkt.sos-ch-gva-2.exo.io > = bkt ch-gva-2 virtual
  bkt: sos-ch-dk-2.exo.io > =/bkt bkt ch-dk-2 path
UpCloud
  bkt: gdrv6.upcloudobjects.com > =/bkt bkt us-east-1 path
  bkt.gdrv6.upcloudobjects.com > = bkt us-east-1 virtual
Contabo
  bkt: eu2.contabostorage.com > =/bkt bkt us-east-1 path
IONOS
  bkt.s3.eu-central-2.ionoscloud.com > = bkt eu-central-2 virtual
  bkt: s3-eu-central-1.ionoscloud.com > =/bkt bkt de path
Yandex Cloud
  bkt.storage.yandexcloud.net > = bkt ru-central1 virtual
  storage.yandexcloud.net/bkt > = bkt ru-central1 path
Selectel
  bkt: s3.ru-1.storage.selcloud.ru > =/bkt bkt ru-1 path
  bkt.s3.ru-1.storage.selcloud.ru > = bkt ru-1 virtual
Gcore
  bkt: s-ed1.cloud.gcore.lu > =/bkt bkt s-ed1 path
OUTSCALE
  bkt: oos.eu-west-2.outscale.com > =/bkt bkt eu-west-2 path
Cubbit
  bkt: s3.cubbit.eu > =/bkt bkt eu-west-1 path
Hivenet
  bkt: eu.s3.hivenet.com > =/bkt bkt Europe path
Telnyx
  bkt.us-central-1.telnyxcloudstorage.com > = bkt us-central-1 virtual

  minio:9000/minio-bucket/ > = minio-bucket us-east-1 path
  named: minio:9000 > =/named named us-east-1 path
  127.0.0.1:9000/minio-bucket/ > = minio-bucket us-east-1 path
  named: [::1]:9000 > =/named named us-east-1 path
  named: s3.example.com > =/named named us-east-1 path
  bkt: example.com/minio/ > =/bkt bkt us-east-1 path
  bkt: gateway.example.com/api/s3 > =/bkt bkt us-east-1 path
  pictures: minio:9000/pictures > = pictures us-east-1 path
  bkt.s3.example.com > = bkt us-east-1 virtual
  bkt.s3.eu-west-1.example.com/a > = bkt eu-west-1 virtual a
  bkt: tenant.s3.example.com > =/bkt bkt us-east-1 path
  bkt: bkt.objects.example.com > =/bkt bkt us-east-1 path
"""


def rows() -> list[tuple[str, str, str | None, str]]:
    """The service, the address, the name that is set, and what is expected, of each row."""
    found, service = [], ""
    for line in SERVICES.strip("\n").splitlines():
        if not line.startswith(" "):
            service = line
            continue
        given, expected = line.strip().split(" > ")
        name, _, address = given.rpartition(": ")
        found.append((service, address, name or None, expected))
    return found


@pytest.mark.parametrize(("service", "address", "name", "expected"), rows(), ids=lambda value: str(value)[:60])
def test_an_address_is_read_as_the_service_documents_it(
    service: str, address: str, name: str | None, expected: str
) -> None:
    url, bucket, region, style, *folder = expected.split()
    prefix = "".join(folder)
    url = url.replace("=", address.rstrip("/").removesuffix(f"/{prefix}"))
    for scheme in ("https", "http"):
        found = parse_endpoint(f"{scheme}://{address}", name)
        assert (found.name, found.region, found.style, found.prefix) == (bucket, region, style, prefix)
        assert found.provider == service
        assert sent_to(found) == found.url == f"{scheme}://{url}"


def sent_to(address: BucketAddress) -> str:
    """What comes before the key in the URLs that boto3 makes of ``address``."""
    client = Bucket(address, "key-id", "secret").client
    url: str = client.generate_presigned_url("get_object", Params={"Bucket": address.name, "Key": "KEY"})
    assert f"%2F{address.region}%2Fs3%2Faws4_request" in url, "the region that it is signed for"
    assert urlsplit(url).hostname == address.host, "the host that is checked is the one that is asked"
    return url.partition("?")[0].removesuffix("/KEY")


def test_the_table_has_many_services() -> None:
    assert len({service for service, *_ in rows()}) > 35


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("s3.wasabisys.com", "bkt"),
        ("s3.example.com", "bkt"),
        ("bkt.s3-accelerate.amazonaws.com", None),
        ("bkt.s3.eu-west-1.amazonaws.com", None),
        ("abc123.r2.cloudflarestorage.com/bkt", None),
        ("s3.nl-1.wasabisys.com", "bkt"),
        ("minio:9000", "bkt"),
    ],
)
def test_a_region_that_is_set_wins(address: str, name: str | None) -> None:
    assert parse_endpoint(f"https://{address}", name, "my-region-7").region == "my-region-7"


@pytest.mark.parametrize(
    ("address", "name", "addressing", "expected"),
    [
        ("bkt.objects.example.com", None, "virtual", "bkt.objects.example.com bkt virtual"),
        ("bkt.objects.example.com/out", None, "virtual", "bkt.objects.example.com bkt virtual out"),
        ("bkt.objects.example.com/out", "bkt", "virtual", "bkt.objects.example.com bkt virtual out"),
        ("objects.example.com", "bkt", "virtual", "bkt.objects.example.com bkt virtual"),
        ("objects.example.com/api", "bkt", "virtual", "bkt.objects.example.com/api bkt virtual"),
        ("localhost:9000", "bkt", "virtual", "bkt.localhost:9000 bkt virtual"),
        ("s3.eu-west-1.amazonaws.com", "bkt", "virtual", "bkt.s3.eu-west-1.amazonaws.com bkt virtual"),
        ("abc.r2.cloudflarestorage.com/bkt/a", None, "virtual", "bkt.abc.r2.cloudflarestorage.com bkt virtual a"),
        ("bkt.s3.eu-west-1.amazonaws.com/a", None, "path", "s3.eu-west-1.amazonaws.com/bkt bkt path a"),
        ("bkt.t3.storage.dev", None, "path", "t3.storage.dev/bkt bkt path"),
        ("pics.s3.example.com/bkt", None, "path", "pics.s3.example.com/bkt bkt path"),
        ("my.pics.s3.example.com", None, "virtual", "s3.example.com/my.pics my.pics path"),
        ("objects.example.com", "My_Bucket", "virtual", "objects.example.com/My_Bucket My_Bucket path"),
    ],
)
def test_the_operator_may_say_where_urls_name_the_bucket(
    address: str, name: str | None, addressing: Addressing, expected: str
) -> None:
    found = parse_endpoint(f"https://{address}", name, addressing=addressing)
    place, bucket, style, *prefix = expected.split()
    assert (found.name, found.style, found.prefix) == (bucket, style, "".join(prefix))
    assert sent_to(found) == f"https://{place}"


def test_a_host_has_small_letters_only() -> None:
    assert parse_endpoint("https://Bkt.S3.eu-west-1.amazonaws.com", "Bkt").name == "bkt"
    with pytest.raises(ValueError, match="it names the bucket 'bkt', and BUCKET_NAME names 'Bkt'"):
        parse_endpoint("https://s3.eu-west-1.amazonaws.com/bkt", "Bkt")


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("bkt.s3.eu-west-1.amazonaws.com", "bkt"),
        ("bkt.storage.googleapis.com", "bkt"),
        ("bkt.abc.r2.cloudflarestorage.com", "bkt"),
        ("s3.eu-west-1.amazonaws.com/renders", "renders"),
        ("abc.r2.cloudflarestorage.com/r2-bucket", "r2-bucket"),
    ],
)
def test_a_bucket_with_two_names_stops_the_start(monkeypatch: pytest.MonkeyPatch, address: str, named: str) -> None:
    for name, text in {**KEYS, "BUCKET_ENDPOINT_URL": f"https://{address}", "BUCKET_NAME": "other"}.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError, match=f"names the bucket '{named}', and BUCKET_NAME names 'other'"):
        configured_bucket(load_settings())
    monkeypatch.setenv("BUCKET_NAME", named)
    bucket = configured_bucket(load_settings())
    assert bucket is not None
    assert bucket.address.name == named


@pytest.mark.parametrize(
    "endpoint",
    [
        *("", "bucket", "ftp://bucket", "https://", "https://s3.eu-west-1.amazonaws.com", "https://host/a/b"),
        *(
            "https://host:port/bkt",
            "https://host:99999/bkt",
            "https://[::1/bkt",
            "https://space.nyc3.cdn.digitaloceanspaces.com",
        ),
        "https://abcd.supabase.co/storage/v1/s3",
        "https://minio:9000/my%20pictures",
    ],
)
def test_what_names_no_bucket(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"it must be an http\(s\) address|it does not name the bucket|Invalid IPv6"):
        parse_endpoint(endpoint)


@pytest.mark.parametrize("part", ["s3.", "a-", "s3-a.", "oss-", "x.", "s3.eu-west-1.", "1-"])
def test_a_long_host_is_read_at_once(part: str) -> None:
    """A caller may write the address of a bucket."""
    start = time.monotonic()
    with contextlib.suppress(ValueError):
        parse_endpoint("https://" + (part * 200)[:250] + "_", "named")
    assert time.monotonic() - start < 0.2


def test_a_name_that_no_bucket_has() -> None:
    with pytest.raises(ValueError, match="BUCKET_NAME 'my pictures' is no name of a bucket"):
        parse_endpoint("https://s3.example.com", "my pictures")
    with pytest.raises(ValueError, match="it is an IP address"):
        parse_endpoint("https://127.0.0.1:9000", "bkt", addressing="virtual")


KEYS = {"BUCKET_ACCESS_KEY_ID": "test-key-id", "BUCKET_SECRET_ACCESS_KEY": "test-secret-key"}


@pytest.mark.parametrize(
    ("settings", "folder"),
    [
        ({"BUCKET_ENDPOINT_URL": "https://b.s3.eu-west-1.amazonaws.com/renders"}, "renders"),
        ({"BUCKET_ENDPOINT_URL": "https://b.s3.eu-west-1.amazonaws.com/renders/", "BUCKET_PREFIX": "/a/"}, "renders/a"),
        ({"BUCKET_ENDPOINT_URL": "https://b.s3.eu-west-1.amazonaws.com/my%20files"}, "my files"),
        ({"BUCKET_ENDPOINT_URL": "https://s3.example.com/x", "BUCKET_NAME": "b", "BUCKET_PREFIX": "a"}, "a"),
        ({"BUCKET_ENDPOINT_URL": " https://s3.example.com ", "BUCKET_NAME": " b "}, ""),
    ],
)
def test_the_addresss_folder_comes_before_the_prefix(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], folder: str
) -> None:
    for name, text in (KEYS | settings).items():
        monkeypatch.setenv(name, text)
    bucket = configured_bucket(load_settings())
    assert bucket is not None
    assert bucket.prefix == folder


@pytest.mark.parametrize(
    "settings",
    [
        {"BUCKET_ENDPOINT_URL": "https://s3.eu-west-1.amazonaws.com"},
        {"BUCKET_ENDPOINT_URL": "https://bkt.s3.eu-west-1.amazonaws.com", "BUCKET_NAME": "other"},
        {"BUCKET_ENDPOINT_URL": "https://example.com/a/b"},
        {"BUCKET_ENDPOINT_URL": "http://minio:9000", "BUCKET_NAME": "not a name"},
    ],
)
def test_runpods_uploader_is_held_to_no_rule_of_ours(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    """It makes up the bucket's name, and sends to any path."""
    for name, text in (KEYS | settings | {"BUCKET_UPLOADER": "runpod"}).items():
        monkeypatch.setenv(name, text)
    assert configured_bucket(load_settings()) is None
    monkeypatch.delenv("BUCKET_ACCESS_KEY_ID")
    with pytest.raises(SettingsError, match="BUCKET_ACCESS_KEY_ID must be, too"):
        configured_bucket(load_settings())


def test_no_text_shows_a_password_in_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {**KEYS, "BUCKET_ENDPOINT_URL": "http://user:hunter2@minio:9000"}.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError) as caught:
        configured_bucket(load_settings())
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str(load_settings().documented())
