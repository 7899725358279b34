"""The services that speak S3: their host names, regions, and where their URLs name the bucket. A table, as data.

A host is written without the bucket. These parts of it differ from bucket to bucket:

    {aws_region}    a region with a name such as AWS's: eu-west-1, us-gov-west-1
    {region}        a region with any other name
    {account}       the customer's own part
    {domain}        two names or more, such as example.com

To add a service, add a row, and its addresses to tests/test_bucket_address.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DEFAULT_REGION = "us-east-1"  # boto3 takes it as well, and services without regions accept it.


@dataclass(frozen=True)
class Provider:
    """A service, and how its addresses are read.

    Attributes:
        name: its name, for people.
        hosts: the hosts of its endpoints. The first that fits counts.
        region: the region to sign for, where the host names none.
        regions: the region to sign for, by the one that the host names, where they differ.
        upper_case: whether its regions are written in upper case.
        addressing: whether URLs may name the bucket in the host, in the path, or in both ways. If only one way works,
            the worker takes it. Otherwise it does as the address does.
        path: the path that belongs to each of its endpoints.
        is_known: whether only this service has such hosts. Otherwise a name that is set counts more than the host.
    """

    name: str
    hosts: tuple[str, ...]
    region: str = DEFAULT_REGION
    regions: Mapping[str, str] = field(default_factory=dict)
    upper_case: bool = False
    addressing: Literal["any", "virtual", "path"] = "any"
    path: str = ""
    is_known: bool = True


_AWS = (
    "s3.{aws_region}.amazonaws.com",
    "s3-{aws_region}.amazonaws.com",
    "s3.dualstack.{aws_region}.amazonaws.com",
    "s3-fips.{aws_region}.amazonaws.com",
    "s3-fips-{aws_region}.amazonaws.com",
    "s3-fips.dualstack.{aws_region}.amazonaws.com",
    "bucket.{account}.s3.{aws_region}.vpce.amazonaws.com",
    "s3.amazonaws.com",
    "s3-external-1.amazonaws.com",
    "s3.{aws_region}.amazonaws.com.cn",
    "s3.dualstack.{aws_region}.amazonaws.com.cn",
)
_ACCELERATE = ("s3-accelerate.amazonaws.com", "s3-accelerate.dualstack.amazonaws.com")
_OVH = ("s3.{region}.io.cloud.ovh.net", "s3.{region}.perf.cloud.ovh.net", "s3.{region}.cloud.ovh.net")
_OSS = (
    "s3.oss-{region}-internal.aliyuncs.com",
    "s3.oss-{region}.aliyuncs.com",
    "oss-{region}-internal.aliyuncs.com",
    "oss-{region}.aliyuncs.com",
    "{region}.oss.aliyuncs.com",
)
_IBM = ".cloud-object-storage.appdomain.cloud"
_ORACLE = "{account}.compat.objectstorage.{region}"
_WASABI_ALIASES = {
    "nl-1": "eu-central-1",
    "de-1": "eu-central-2",
    "uk-1": "eu-west-1",
    "fr-1": "eu-west-2",
    "uk-2": "eu-west-3",
    "it-1": "eu-south-1",
}
_IDRIVE_ALIASES = {
    "or-1": "us-west-1",
    "la-1": "us-west-2",
    "sj-1": "us-west-3",
    "ph-1": "us-southwest-1",
    "ch-1": "us-midwest-1",
    "da-1": "us-central-1",
    "va-1": "us-east-1",
    "mi-1": "us-southeast-1",
    "ca-1": "ca-east-1",
    "ir-1": "eu-west-1",
    "uk-1": "eu-west-2",
    "uk-2": "eu-west-3",
}

PROVIDERS = (
    Provider("AWS S3", _AWS),
    Provider("AWS S3", _ACCELERATE, addressing="virtual"),
    Provider("AWS S3", ("s3-accesspoint.{aws_region}.amazonaws.com",), addressing="virtual"),
    Provider("Google Cloud Storage", ("storage.googleapis.com",), region="auto"),
    Provider(
        "Cloudflare R2",
        (
            "{account}.eu.r2.cloudflarestorage.com",
            "{account}.us.r2.cloudflarestorage.com",
            "{account}.fedramp.r2.cloudflarestorage.com",
            "{account}.r2.cloudflarestorage.com",
        ),
        region="auto",
    ),
    Provider("Backblaze B2", ("s3.{region}.backblazeb2.com",)),
    Provider("Wasabi", ("s3.wasabisys.com", "s3.{region}.wasabisys.com"), regions=_WASABI_ALIASES),
    Provider("DigitalOcean Spaces", ("{region}.digitaloceanspaces.com",)),
    Provider("RunPod network volume", ("s3api-{region}.runpod.io",), upper_case=True, addressing="path"),
    Provider("Scaleway", ("s3.{region}.scw.cloud",)),
    Provider("OVHcloud", (*_OVH, "s3.{region}.io.cloud.ovh.us")),
    Provider("Hetzner", ("{region}.your-objectstorage.com",)),
    Provider("Linode", ("{region}.linodeobjects.com",)),
    Provider("Vultr", ("{region}.vultrobjects.com",)),
    Provider("Tigris", ("t3.storage.dev", "fly.storage.tigris.dev"), region="auto", addressing="virtual"),
    Provider("Alibaba Cloud OSS", _OSS, addressing="virtual"),
    Provider("Tencent COS", ("cos.{region}.myqcloud.com", "cos.{region}.tencentcos.cn"), addressing="virtual"),
    Provider("Huawei OBS", ("obs.{region}.myhuaweicloud.com", "obs.{region}.myhuaweicloud.eu")),
    Provider("Volcengine TOS", ("tos-s3-{region}.volces.com",), addressing="virtual"),
    Provider("Baidu BOS", ("s3.{region}.bcebos.com",)),
    Provider("IBM Cloud", ("s3.{region}" + _IBM, "s3.private.{region}" + _IBM, "s3.direct.{region}" + _IBM)),
    Provider("Oracle Cloud", (_ORACLE + ".oraclecloud.com", _ORACLE + ".oci.customer-oci.com"), addressing="path"),
    Provider("Oracle Cloud", ("vhcompat.objectstorage.{region}.oci.customer-oci.com",), addressing="virtual"),
    Provider(
        "Supabase",
        ("{account}.storage.supabase.co", "{account}.supabase.co"),
        addressing="path",
        path="/storage/v1/s3",
    ),
    Provider("CoreWeave", ("cwobject.com", "cwlota.com"), addressing="virtual"),
    Provider("Nebius", ("storage.{region}.nebius.cloud",)),
    Provider("Filebase", ("s3.filebase.com",)),
    Provider("Storj", ("gateway.storjshare.io", "gateway.{account}.storjshare.io")),
    Provider("IDrive e2", ("s3.{region}.idrivee2.com",), regions=_IDRIVE_ALIASES),
    Provider("Exoscale", ("sos-{region}.exo.io",)),
    Provider("UpCloud", ("{account}.upcloudobjects.com",)),
    Provider("Contabo", ("{account}.contabostorage.com",), addressing="path"),
    Provider(
        "IONOS",
        ("s3.{region}.ionoscloud.com", "s3-{region}.ionoscloud.com"),
        regions={"eu-central-1": "de"},
    ),
    Provider("Yandex Cloud", ("storage.yandexcloud.net", "s3.yandexcloud.net"), region="ru-central1"),
    Provider("Selectel", ("s3.{region}.storage.selcloud.ru",)),
    Provider("Gcore", ("{region}.cloud.gcore.lu",)),
    Provider("OUTSCALE", ("oos.{region}.outscale.com",)),
    Provider("Cubbit", ("s3.cubbit.eu",), region="eu-west-1"),
    Provider("Hivenet", ("eu.s3.hivenet.com",), region="Europe", addressing="path"),
    Provider("Telnyx", ("{region}.telnyxcloudstorage.com",)),
    Provider("Impossible Cloud", ("{region}.storage.impossibleapi.net",)),
    Provider("DreamHost", ("objects-{region}.dream.io",)),
    # Others that name their hosts as AWS does. The name before "s3" is the bucket, unless BUCKET_NAME is another.
    Provider(
        "",
        ("s3.{aws_region}.{domain}", "s3-{aws_region}.{domain}", "s3.{domain}", "s3-{account}.{domain}"),
        is_known=False,
    ),
)
