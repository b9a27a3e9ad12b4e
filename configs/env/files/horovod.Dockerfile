# Horovod built for PyTorch and NCCL on Azure's CUDA base image.
FROM mcr.microsoft.com/azureml/openmpi5.0-cuda12.6-ubuntu24.04:20260621.v1

RUN apt-get update && apt-get install -y --no-install-recommends build-essential cmake git \
    && rm -rf /var/lib/apt/lists/*

RUN pip install --no-cache-dir 'setuptools<81' wheel packaging cffi cloudpickle psutil pyyaml \
    torch==2.8.0 torchvision==0.23.0 \
    hydra-core==1.3.2 omegaconf==2.3.0 \
    numpy==2.2.6 pillow==11.3.0 scikit-learn==1.7.1 filelock==3.19.1 matplotlib==3.10.5 \
    onnx==1.18.0 onnxscript==0.4.0 onnxruntime==1.22.1 \
    azureml-core==1.61.0.post4 azureml-mlflow==1.62.0

# Horovod 0.28.1 asks the compiler for C++14; the headers of current PyTorch need C++17.
RUN printf '#!/bin/bash\nexec g++ "${@/-std=c++1[14]/-std=c++17}"\n' > /usr/local/bin/g++17 && chmod +x /usr/local/bin/g++17
RUN CXX=/usr/local/bin/g++17 HOROVOD_WITH_PYTORCH=1 HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1 \
    HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1 HOROVOD_GPU_OPERATIONS=NCCL \
    pip install --no-build-isolation --no-cache-dir horovod==0.28.1
