"""The requests that change the account, as AWS's API takes them: add a VPC or a KMS key here.

Each function takes the settings and what only the caller knows, and returns the parameters of one
call. A key whose value is None is left out: the API's own default holds.
"""

from __future__ import annotations

from typing import Any

from deploy.configuration import Configuration, text_of

Document = dict[str, Any]

METRICS_PATH = "/metrics"  # of the server, on the port of its requests


def given(document: Document) -> Document:
    """Return the document without the keys, at any depth of objects, whose value is None."""
    return {
        key: given(value) if isinstance(value, dict) else value
        for key, value in document.items()
        if value is not None
    }


def texts(values: Document) -> dict[str, str]:
    """Return hyperparameters as SageMaker takes them and the container reads them: as texts."""
    return {name: text_of(value) for name, value in values.items()}


def repository(settings: Configuration) -> Document:
    """Return the parameters of ecr:CreateRepository."""
    return {
        "repositoryName": settings.name,
        "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfiguration": {"encryptionType": "AES256"},
        "tags": settings.tags,
    }


def bucket(name: str, region: str) -> Document:
    """Return the parameters of s3:CreateBucket; us-east-1 must not be named."""
    place = None if region == "us-east-1" else {"LocationConstraint": region}
    return given({"Bucket": name, "CreateBucketConfiguration": place})


def bucket_access(name: str) -> Document:
    """Return the parameters of s3:PutPublicAccessBlock: nothing is public."""
    blocks = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    return {"Bucket": name, "PublicAccessBlockConfiguration": dict.fromkeys(blocks, True)}


def bucket_tags(settings: Configuration, name: str) -> Document:
    """Return the parameters of s3:PutBucketTagging."""
    return {"Bucket": name, "Tagging": {"TagSet": settings.tags}}


def channel(settings: Configuration, name: str, data: str, distribution: str) -> Document:
    """Return one input channel of a training job."""
    source = {"S3DataType": "S3Prefix", "S3Uri": data, "S3DataDistributionType": distribution}
    return {
        "ChannelName": name,
        "ContentType": settings.media_type,
        "DataSource": {"S3DataSource": source},
    }


def training(
    settings: Configuration,
    *,
    image: str,
    role: str,
    bucket: str,
    channels: list[Document],
    metrics: list[Document],
) -> Document:
    """Return what sagemaker:CreateTrainingJob and the jobs of a tuning job have in common."""
    return given(
        {
            "AlgorithmSpecification": {
                "TrainingImage": image,
                "TrainingInputMode": "File",
                "MetricDefinitions": metrics,
            },
            "RoleArn": role,
            "InputDataConfig": channels,
            "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/output/"},
            "ResourceConfig": {
                "InstanceType": settings.instance_type,
                "InstanceCount": settings.instance_count,
                "VolumeSizeInGB": settings.volume_gb,
            },
            "StoppingCondition": {
                "MaxRuntimeInSeconds": settings.max_seconds,
                "MaxWaitTimeInSeconds": 2 * settings.max_seconds if settings.spot else None,
            },
            "EnableManagedSpotTraining": settings.spot,
            "EnableNetworkIsolation": True,
        }
    )


def tuning(
    settings: Configuration,
    *,
    metric: str,
    direction: str,
    ranges: Document,
    definition: Document,
) -> Document:
    """Return the parameters of sagemaker:CreateHyperParameterTuningJob."""
    return {
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": direction, "MetricName": metric},
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": settings.tune_jobs,
                "MaxParallelTrainingJobs": settings.tune_parallel,
            },
            "ParameterRanges": ranges,
        },
        "TrainingJobDefinition": definition,
    }


def transform(
    settings: Configuration, *, model: str, data: str, output: str, media_type: str, lines: bool
) -> Document:
    """Return the parameters of sagemaker:CreateTransformJob; `lines` are split and joined again."""
    return {
        "ModelName": model,
        "BatchStrategy": "MultiRecord" if lines else "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": data}},
            "ContentType": media_type,
            "SplitType": "Line" if lines else "None",
        },
        "TransformOutput": {"S3OutputPath": output, "AssembleWith": "Line"},
        "TransformResources": {
            "InstanceType": settings.instance_type,
            "InstanceCount": settings.instance_count,
        },
    }


def model(
    settings: Configuration, *, image: str, data: str, role: str, hosted: bool = True
) -> Document:
    """Return the parameters of sagemaker:CreateModel; not `hosted`: for a transform job.

    Serverless refuses network isolation, and neither it nor a transform job has metrics to scrape.
    """
    serverless = hosted and settings.mode == "serverless"
    metrics = None
    if hosted and not serverless and settings.observability:
        seconds = settings.metrics_seconds
        place = {"MetricsEndpointPath": METRICS_PATH, "MetricPublishFrequencyInSeconds": seconds}
        metrics = {"MetricsEndpoints": [place]}
    return given(
        {
            "PrimaryContainer": {
                "Image": image,
                "ModelDataUrl": data,
                "Environment": settings.environment or None,
                "ContainerMetricsConfig": metrics,
            },
            "ExecutionRoleArn": role,
            "EnableNetworkIsolation": not serverless,
        }
    )


def _instances(settings: Configuration, graviton_model: str) -> Document:
    """Return the variant's instances: one type, or pools of which the Graviton one goes first."""
    count = {"InitialInstanceCount": settings.endpoint_count, "InitialVariantWeight": 1.0}
    if not graviton_model:
        return count | {"InstanceType": settings.endpoint_instance}
    first = {"InstanceType": settings.graviton_instance, "ModelNameOverride": graviton_model}
    second = {"InstanceType": settings.endpoint_instance, "Priority": 2}
    return count | {"InstancePools": [first | {"Priority": 1}, second]}


def endpoint_config(
    settings: Configuration, *, model: str, bucket: str, graviton_model: str = ""
) -> Document:
    """Return the parameters of sagemaker:CreateEndpointConfig, for the mode of the settings.

    `graviton_model` is the same model with the arm64 image, for a pool of Graviton instances.
    """
    variant: Document = {"VariantName": "main", "ModelName": model}
    if settings.mode == "serverless":
        limits = {
            "MemorySizeInMB": settings.memory_mb,
            "MaxConcurrency": settings.max_concurrency,
        }
        return {"ProductionVariants": [variant | {"ServerlessConfig": limits}]}
    request: Document = {
        "ProductionVariants": [variant | _instances(settings, graviton_model)],
        "MetricsConfig": given(
            {
                "EnableDetailedObservability": settings.observability,
                "MetricPublishFrequencyInSeconds": settings.metrics_seconds
                if settings.observability
                else None,
            }
        ),
    }
    if settings.mode == "async":
        output = {
            "S3OutputPath": f"s3://{bucket}/async/output/",
            "S3FailurePath": f"s3://{bucket}/async/failure/",
        }
        return request | {"AsyncInferenceConfig": {"OutputConfig": output}}
    capture = {
        "EnableCapture": settings.capture_percent > 0,
        "InitialSamplingPercentage": settings.capture_percent,
        "DestinationS3Uri": f"s3://{bucket}/capture/",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    }
    return request | {"DataCaptureConfig": capture}


def blue_green(settings: Configuration) -> Document:
    """Return how an update goes: a new fleet beside the old one, one instance of traffic first."""
    names = [name.strip() for name in settings.rollback_alarms.split(",") if name.strip()]
    several = settings.endpoint_count > 1  # the traffic of one instance cannot be split
    return given(
        {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {
                    "Type": "CANARY" if several else "ALL_AT_ONCE",
                    "WaitIntervalInSeconds": 120,
                    "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1} if several else None,
                },
                "TerminationWaitInSeconds": 60,
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in names]}
            if names
            else None,
        }
    )


def scalable(settings: Configuration) -> Document:
    """Return what names the endpoint's variant in Application Auto Scaling."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{settings.name}/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def scaling(settings: Configuration) -> Document:
    """Return the target tracking of the mode: requests or backlog per instance."""
    if settings.mode == "async":
        metric = {
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Namespace": "AWS/SageMaker",
            "Dimensions": [{"Name": "EndpointName", "Value": settings.name}],
            "Statistic": "Average",
        }
        return {"TargetValue": 5, "CustomizedMetricSpecification": metric}
    kind = "SageMakerVariantInvocationsPerInstance"
    return {
        "TargetValue": settings.target_invocations,
        "PredefinedMetricSpecification": {"PredefinedMetricType": kind},
    }


def package(
    settings: Configuration,
    *,
    image: Any,
    data: Any,
    evaluation: Any,
    environment: Document | None = None,
    metadata: Document | None = None,
) -> Document:
    """Return the parameters of sagemaker:CreateModelPackage; `evaluation` is an s3:// address.

    In a pipeline image, data, evaluation and the values of `environment` may be references.
    """
    container = given({"Image": image, "ModelDataUrl": data, "Environment": environment or None})
    statistics = {"ContentType": "application/json", "S3Uri": evaluation}
    answers = ["text/csv", "application/json", "application/jsonlines"]
    return given(
        {
            "ModelPackageGroupName": settings.name,
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [container],
                "SupportedContentTypes": ["text/csv", "text/libsvm", *answers[1:]],
                "SupportedResponseMIMETypes": answers,
                "SupportedRealtimeInferenceInstanceTypes": [settings.endpoint_instance],
                "SupportedTransformInstanceTypes": [settings.instance_type],
            },
            "ModelMetrics": {"ModelQuality": {"Statistics": statistics}} if evaluation else None,
            "CustomerMetadataProperties": metadata,
        }
    )
