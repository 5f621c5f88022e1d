# Prunescope on a CPU, in hosted mode, by a user without privileges:
#   docker build -t prunescope . && docker run --rm -p 8501:8501 --memory 4g prunescope
# For oneself alone, with all that hosted mode switches off: -e PRUNESCOPE_HOSTED=0 -p 127.0.0.1:8501:8501
# A Hugging Face Space builds the same file: space/README.md.
# Built by buildah 1.28 on Debian's Python 3.11 in place of the image below, with the packages of requirements.txt at hand,
# and run as it stands: user 1000, health check and `predict` answered. Not tried: the base image itself, and
# PyTorch's index, which is out of reach here; without it the next lines install the usual build.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 user
WORKDIR /home/user/app

COPY requirements.txt .
RUN grep -E '^torch(vision)?==' requirements.txt > /tmp/torch.txt \
    && (pip install --no-cache-dir --no-deps --retries 1 --timeout 20 \
            --index-url https://download.pytorch.org/whl/cpu --requirement /tmp/torch.txt \
        || echo "torch's build for CPUs cannot be had here; installing the usual one, with 5 GB of CUDA.") \
    && pip install --no-cache-dir --requirement requirements.txt

COPY --chown=user . .
USER user
ENV OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=10000 PRUNESCOPE_HOSTED=1
EXPOSE 8501

HEALTHCHECK --start-period=120s CMD \
    ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8501/_stcore/health', timeout=5)"]

# A Space shows the page in a frame, which gets no cookie, so that the check of the cookie is off there and only there.
CMD ["sh", "-c", "exec python -m streamlit run app.py --server.address 0.0.0.0 --server.port 8501 --server.headless true --server.maxUploadSize 20 ${SPACE_ID:+--server.enableXsrfProtection false}"]
